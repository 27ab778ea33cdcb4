"""The page in a browser, headless Chromium: no error, no overflow, tables that sort.

The page stands in a frame 400 pixels wide. A script around it clicks, measures, and leaves what it
found in the document, which Chromium prints.
"""

import html
import json
import re
import shutil
import subprocess

import pytest
from page_experiments import HYPS, scored

from mome.scoring.page import document

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="Chromium is not installed (apt-get install chromium)"
)
HARNESS = """<!doctype html><meta charset="utf-8"><body>
<iframe id="page" style="width: 400px; height: 900px; border: 0"></iframe><pre id="found"></pre>
<script>
const frame = document.getElementById("page");
function cells(table, column) {
  return Array.from(table.tBodies[0].rows, (row) => row.cells[column].innerText);
}
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const found = { errors: [], widths: [root.scrollWidth], tables: [] };
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  found.widths.push(root.scrollWidth);
  for (const table of page.querySelectorAll("table.sortable")) {
    const column = table.tHead.rows[0].cells.length > 4 ? 2 : 1;
    const header = table.tHead.rows[0].cells[column];
    const button = header.querySelector("button");
    const states = [[header.ariaSort, cells(table, column)]];
    button.focus();
    const focused = page.activeElement === button;
    for (let k = 0; k < 2; k++) {
      button.click();
      states.push([header.ariaSort, cells(table, column)]);
    }
    const box = table.parentElement;
    found.tables.push({ states, focused, name: box.ariaLabel, inside: box.clientWidth <= 400 });
  }
  found.images = Array.from(page.images, (i) => [i.complete, i.naturalWidth]);
  found.attacked = frame.contentWindow.attacked === true;
  found.scripts = page.querySelectorAll("main script").length;
  frame.contentWindow.location.hash = "#set-test";
  document.getElementById("found").textContent = JSON.stringify(found);
  console.log("the harness ran");
};
frame.srcdoc = PAGE;
</script>
"""


def browse(page: str, folder) -> tuple[dict, list[str]]:
    """What the harness found, and all messages of the console."""
    path = folder / "harness.html"
    path.write_text(HARNESS.replace("PAGE", json.dumps(page).replace("</", "<\\/"), 1))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"]
    done = subprocess.run(
        [BROWSER, *options, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = re.search('<pre id="found">(.*?)</pre>', done.stdout, re.S)
    messages = re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr)
    return json.loads(html.unescape(found[1]) or "{}"), messages


def number(cell: str) -> float:
    return float(cell.split()[0].replace(",", ""))


def test_the_page_works_in_a_browser_400_pixels_wide(full, tmp_path):
    other = scored(tmp_path, "other", {("a4", "test"): HYPS["a16_v5", "test"]})
    path = document.write_page(full, [full, other])
    found, messages = browse(path.read_text(), tmp_path)
    assert [message.split(",")[0] for message in messages] == ['"the harness ran"']
    assert max(found["widths"]) <= 400
    assert found["scripts"] == 0 and not found["attacked"]
    assert all(complete and width for complete, width in found["images"])
    assert len(found["tables"]) >= 6
    for table in found["tables"]:
        (_, before), up, down = table["states"]
        assert table["focused"] and table["inside"], table["name"]
        assert before and all(before), table["name"]
        assert (up[0], down[0]) == ("ascending", "descending")
        assert sorted(before) == sorted(up[1]) == sorted(down[1])
        for state, sign in ((up, 1), (down, -1)):
            numbers = [sign * number(cell) for cell in state[1] if cell[0].isdigit()]
            assert numbers == sorted(numbers), table["name"]
            dashes = [cell for cell in state[1] if cell == "-"]
            assert not numbers or state[1][len(state[1]) - len(dashes) :] == dashes


def test_errors_and_overflow_would_be_seen(tmp_path):
    page = "<p style='width: 500px'>x</p><img src='data:,'><script>nothing()</script>"
    found, messages = browse(page, tmp_path)
    assert max(found["widths"]) > 400
    assert any("nothing is not defined" in message for message in messages)
    assert found["images"] == [[True, 0]] and found["tables"] == []
