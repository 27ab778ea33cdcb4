"""Elements of HTML. Text is escaped, whatever it comes from; only `Html` is taken as it is."""

import base64
import html
import re
from collections.abc import Iterable

NUMBER = re.compile(r"-|-?[\d,]*\.?\d+( %)?( \[[^\]]*\])?( \([^)]*%\))?")
EMPTY = {"img", "meta", "link", "br"}  # elements without content and end


class Html(str):
    """Text that is HTML already."""


def escaped(content: object) -> Html:
    """A text that shows as it is; HTML stays HTML."""
    return content if isinstance(content, Html) else Html(html.escape(str(content)))


def join(parts: Iterable[object], separator: str = "") -> Html:
    return Html(separator.join(map(escaped, parts)))


def tag(name: str, /, *content: object, **attributes: str | int | bool | None) -> Html:
    """An element. `class_` is class, `aria_label` is aria-label; None and False are left out."""
    found = ""
    for key, value in attributes.items():
        if value is True:
            found += f" {key}"
        elif value is not None and value is not False:
            found += f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
    if name in EMPTY:
        return Html(f"<{name}{found}>")
    return Html(f"<{name}{found}>{join(content)}</{name}>")


def section(title: str, anchor: str, *content: object) -> Html:
    """A part of the page with a heading that links refer to."""
    heading = tag("h2", title, id=f"{anchor}-title")
    return tag("section", heading, *content, id=anchor, aria_labelledby=f"{anchor}-title")


def fold(summary: object, *content: object, anchor: str | None = None) -> Html:
    """What is shown when the reader asks for it."""
    return tag("details", tag("summary", summary), *content, id=anchor)


def table(rows: list[list], caption: str, sortable: bool = True) -> Html:
    """A table in a box of its own, which scrolls when it is wider than the page.

    Args:
        rows: the first one is the header. A cell is text or HTML; a pair (cell, number) is sorted
            by the number.
        caption: what the table shows; also the name of the box for those who do not see it.
        sortable: whether a click on the header sorts it.
    """
    numeric = [
        k > 0 and len(rows) > 1 and all(_is_number(row[k]) for row in rows[1:])
        for k in range(len(rows[0]))
    ]
    styles = ["number" if is_number else None for is_number in numeric]
    head = tag(
        "tr",
        *(
            tag("th", cell, scope="col", class_=style)
            for cell, style in zip(rows[0], styles, strict=True)
        ),
    )
    body = [
        tag(
            "tr",
            *(
                _cell(value, style, k == 0)
                for k, (value, style) in enumerate(zip(row, styles, strict=True))
            ),
        )
        for row in rows[1:]
    ]
    inner = tag(
        "table",
        tag("thead", head),
        tag("tbody", join(body, "\n")),
        class_="sortable" if sortable else None,
        aria_label=caption,
    )
    box = tag("div", inner, class_="box", tabindex=0, role="region", aria_label=caption)
    return join([tag("p", caption, class_="caption"), box])


def _is_number(value: object) -> bool:
    return isinstance(value, str) and NUMBER.fullmatch(value) is not None


def _cell(value: object, style: str | None, is_first: bool) -> Html:
    key = None
    if isinstance(value, tuple):
        value, key = value
    if is_first:
        return tag("th", value, scope="row", data_sort=key)
    return tag("td", value, class_=style, data_sort=key)


def data_uri(content: bytes, kind: str) -> str:
    """A file inside the page, such as an image; `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
