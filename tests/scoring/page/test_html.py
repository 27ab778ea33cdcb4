"""Elements of HTML: nothing that comes from data becomes markup."""

from mome.scoring.page.html import Html, join, table, tag


def test_text_and_attributes_are_escaped_and_html_is_not():
    inner = tag("b", "a < b & c")
    assert inner == "<b>a &lt; b &amp; c</b>"
    found = tag("p", inner, "</p>", title='"><script>', data_sort=0, hidden=True, id=None)
    assert found == (
        '<p title="&quot;&gt;&lt;script&gt;" data-sort="0" hidden><b>a &lt; b &amp; c</b>'
        "&lt;/p&gt;</p>"
    )
    assert join(["<", Html("<br>")], "&") == "&lt;&<br>"


def test_columns_of_numbers_are_set_as_numbers_and_the_first_column_names_its_row():
    rows = [["<set>", "WER", "note"], ["a", "3.5 [2.1, 5.0]", "7"], [("b", 2), "-", "x"]]
    found = table(rows, "What & why")
    assert '<th scope="col">&lt;set&gt;</th><th scope="col" class="number">WER</th>' in found
    assert '<th scope="row">a</th><td class="number">3.5 [2.1, 5.0]</td><td>7</td>' in found
    assert '<th scope="row" data-sort="2">b</th>' in found
    assert found.count('aria-label="What &amp; why"') == 2
