"""The page itself, with gradio: a clip and what to do with it on the left, results on the right.

Nothing leaves the machine: gradio's analytics, sharing and run history are off, and a content
security policy forbids the browser to fetch anything from elsewhere.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from mome.compression import Scale
from mome.demo import fragments
from mome.demo.state import NO_NOISE, Host, Request

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self';"
    " frame-ancestors 'self'"
)
NO_OTHER = "none"
SCALE = "frames per token"
OTHER = "side by side"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
KEPT_S = 3600  # an upload that is older is removed
log = logging.getLogger(__name__)


class PolicyHeader:
    """Adds the content security policy to each answer."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message.get("headers", []), header]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def build(host: Host, title: str, count_flops: Callable[[int, int], int]) -> gr.Blocks:
    """The page.

    Args:
        title: the model, in words.
        count_flops: as for `fragments.results`.
    """
    with gr.Blocks(title="MoME", analytics_enabled=False, delete_cache=(60, KEPT_S)) as page:
        limits = host.limits
        gr.Markdown(
            "# Audio-visual speech recognition with MoME\n"
            f"{title}. Clips of up to {limits.seconds:g} s and {limits.megabytes:g} MB, with one"
            " face that is seen from the front; those that the browser cannot play are read, too."
            f" They stay on this machine and are removed after {KEPT_S // 60} minutes."
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                inputs = add_inputs(host)
                with gr.Row():
                    go = gr.Button("Transcribe", variant="primary", elem_id="go", min_width=120)
                    stop = gr.Button("Stop", elem_id="stop", min_width=80)
            with gr.Column(scale=3, min_width=300):
                note = gr.HTML(
                    fragments.note("Give a clip, then press Transcribe."), elem_id="note"
                )
                mouths = gr.HTML(elem_id="mouths")
                results = gr.HTML(elem_id="results")

        def serve(*given: Any) -> Iterator[tuple[str, str, str]]:
            *media, scale, other, kind, snr = given
            path = next(filter(None, media), None)
            yield from answer(host, count_flops, path, scale, other, kind, snr)

        run = go.click(
            serve, inputs, [note, mouths, results],
            concurrency_limit=1, trigger_mode="once", **PRIVATE,
        )  # fmt: skip

        def stopped(text: str | None) -> tuple[str, str]:
            return fragments.note("Stopped."), fragments.as_stopped(text or "")

        # Only after the run has ended, lest its last words come later.
        ended = stop.click(None, None, None, cancels=[run], **PRIVATE)
        ended.then(stopped, results, [note, results], **PRIVATE)
    return page


def add_media(host: Host) -> list[Any]:
    """A field for a video and, if the model can do with sound alone, one for a sound.

    One of them is filled: what is given to one empties the other.
    """
    options: dict[str, Any] = {"label": "Clip", "buttons": [], "elem_id": "clip"}
    options |= {"sources": ["upload", "webcam"], "include_audio": True}
    options |= {"webcam_options": gr.WebcamOptions(mirror=False)}
    if not any(scale.task == "asr" for scale in host.model.scales):
        return [gr.Video(**options)]
    with gr.Tab("Video", elem_id="video_tab"):
        video = gr.Video(**options)
    with gr.Tab("Sound alone", elem_id="sound_tab"):
        sound = gr.Audio(label="Sound", type="filepath", buttons=[], elem_id="sound")
    for field, other in ((video, sound), (sound, video)):
        for event in (field.upload, field.stop_recording):
            event(lambda: None, None, other, **PRIVATE)
    return [video, sound]


def add_inputs(host: Host) -> list[Any]:
    """Media, two scales, kind of noise, SNR; and the task, which limits scales."""
    scales: dict[str, list[str]] = {}  # by task
    for scale in host.model.scales:
        scales.setdefault(scale.task, []).append(str(scale))
    tasks = [(fragments.TASKS[name], name) for name in scales]
    first = scales[tasks[0][1]]
    media = add_media(host)
    task = gr.Radio(tasks, value=tasks[0][1], label="Read", visible=len(tasks) > 1)
    with gr.Row():
        one = gr.Dropdown(first, value=first[0], label="Scale", info=SCALE, elem_id="scale")
        other = gr.Dropdown(
            [NO_OTHER, *first], value=NO_OTHER, label="Compare with", info=OTHER, elem_id="other"
        )
    with gr.Row():
        noises = [(name.replace("_", "-"), name) for name in host.noises]
        kind = gr.Dropdown(noises, value=NO_NOISE, label="Added noise", elem_id="noise")
        snr = gr.Slider(-10, 20, value=0, step=1, label="SNR in dB", visible=False, elem_id="snr")

    def of_task(name: str) -> tuple[Any, Any]:
        own = scales[name]
        return (
            gr.Dropdown(own, value=own[0]),
            gr.Dropdown([NO_OTHER, *own], value=NO_OTHER),
        )

    task.change(of_task, task, [one, other], **PRIVATE)
    kind.change(lambda name: gr.Slider(visible=name != NO_NOISE), kind, snr, **PRIVATE)
    return [*media, one, other, kind, snr]


def answer(
    host: Host,
    count_flops: Callable[[int, int], int],
    path: str | None,
    scale: str,
    other: str,
    kind: str,
    snr: float,
) -> Iterator[tuple[str, str, str]]:
    """Message, mouths and results as HTML, again and again until all is done.

    What goes wrong is a message, too.
    """
    if not path:
        yield fragments.note("There is no clip: upload or record one first.", "error"), "", ""
        return
    shown = "", ""
    try:
        scales = [scale, *([other] if other not in (NO_OTHER, scale) else [])]
        for name in scales:
            Scale.parse(name)
        for state in host.serve(Request(Path(path), scales, kind, snr)):
            shown = fragments.mouths(state.mouths), fragments.results(state, count_flops)
            yield fragments.notes(state), *shown
    except (ValueError, OSError) as error:
        text = str(error).replace(path, Path(path).name)  # not where the upload lies
        yield fragments.note(f"{text}.", "error"), *shown
    except Exception:
        log.exception(f"{path} could not be transcribed")
        text = "This is a fault of the program: the terminal of mome demo shows more."
        yield fragments.note(text, "error"), *shown


def serve(page: gr.Blocks, host: str, port: int, megabytes: float, ended: threading.Event) -> None:
    """Serve the page until `ended` is set. Raises OSError when it cannot."""
    page.queue(max_size=20)
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=int(megabytes * 1e6),
        app_kwargs={"middleware": [Middleware(PolicyHeader)]},
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=fragments.CSS,
        footer_links=[],
        run_history=False,
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        prevent_thread_lock=True,
        quiet=True,
    )
    log.info(f"the page is at http://{host}:{port} (Ctrl-C ends it)")
    try:
        ended.wait()
    finally:
        page.close(verbose=False)
