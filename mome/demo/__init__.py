"""A web page on which a trained model reads a clip (`mome demo`).

`visit` does what a visitor asks for, `state` is what is known of it so far, `fragments` writes that
as HTML, and `page` is the page, with gradio.
"""
