"""The page as a whole: numbers, links, and that it needs nothing outside itself."""

import base64
import hashlib
import html
import re

import pytest
from page_experiments import ATTACK, HYPS, full_experiment, scored

from mome.scoring import statistics
from mome.scoring.page import document
from mome.scoring.page.reading import read
from mome.scoring.page.scored import Scored


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Scored:
    """An experiment with its page, which compares it with another one."""
    root = tmp_path_factory.mktemp("shown")
    full = full_experiment(root)
    other = scored(root, "other", {("a4", "test"): HYPS["a16_v5", "test"]})
    assert document.write_page(full, [full, other]) == full.exp_dir / "report/index.html"
    return full


@pytest.fixture(scope="module")
def page(shown) -> str:
    return (shown.exp_dir / "report/index.html").read_text()


def text_of(element: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", element))


def rows_of(page: str, caption: str) -> list[list[str]]:
    """The cells of the first table with a caption that begins so."""
    table = re.search(f'<p class="caption">{re.escape(caption)}.*?<table.*?</table>', page, re.S)[0]
    rows = re.findall("<tr>(.*?)</tr>", table, re.S)
    return [[text_of(c) for c in re.findall("<t[hd].*?</t[hd]>", row, re.S)] for row in rows]


def test_error_rates_stand_with_their_intervals(page, shown):
    interval = statistics.error_rate_interval(shown.align("test", "a4_v2"))
    rows = rows_of(page, "Word error rate in per cent")
    assert rows[0] == ["set", "a4_v2", "a16_v5"]
    assert rows[1][:2] == ["test", f"28.6 [{interval.low:.1f}, {interval.high:.1f}]"]
    assert [row[0] for row in rows[1:]] == ["test", "test_babble_-5"]  # with their own video
    assert f"28.6 % (95 % interval {interval.low:.1f} to {interval.high:.1f}) at a4_v2" in page


def test_each_speaker_each_set_and_each_experiment_has_its_row(page):
    rows = rows_of(page, "Word error rate in per cent of each speaker")
    assert rows[0] == ["speaker", "set", "Snt", "Wrd", "a4_v2", "a16_v5"]
    assert [row.split(" ")[0] for row in rows[1]] == ["s1", "test", "2", "6", "33.3", "50.0"]
    assert rows[-1] == ["s2", "test_babble_-5_zeroed_video", "1", "1", "100.0", "-"]
    assert len(rows) == 1 + 2 * 3
    details = rows_of(page, "Words: rates in per cent")
    assert details[1][:6] == ["test", "a4_v2", "3", "7", "85.7", "14.3"]
    noise = rows_of(page, "Word error rate in per cent, with its 95 % interval; (+x %)")
    assert noise[0] == ["noise", "SNR, dB", "a4_v2", "a16_v5", "a4 of other"]
    assert noise[1][2].startswith("28.6 [") and noise[1][2].endswith("] (+33 %)")
    assert ["other", "a4", "42.9", "-", "-"] in rows_of(page, "Word error rate in per cent.")


def test_long_tables_of_speakers_are_cut_and_say_so(full, monkeypatch):
    monkeypatch.setattr(document, "MOST_SPEAKER_ROWS", 5)
    (found,) = document.speakers(full)
    assert "6 rows would be too many" in found and "zeroed" not in found
    assert "only those of test and test_babble_-5 are here" in found


def test_text_from_data_is_inert(page):
    assert ATTACK not in page and html.escape(ATTACK) in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert "--tag &#x27;&lt;b&gt;&#x27;" in page


def test_the_page_needs_nothing_outside_and_its_script_is_the_only_one_allowed(page):
    sources = re.findall(r'src="([^"]{0,40})', page)
    assert sources and all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://(?!www\.w3\.org)", page) and "url(" not in page
    links = [x for x in re.findall(r'href="([^"]*)"', page) if not x.startswith(("#", "data:"))]
    assert links and all(link.startswith("../decode_") for link in links)
    script = re.search("<script>(.*)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src &#x27;none&#x27;" in page and f"sha256-{digest}" in page


def test_links_lead_somewhere(page, shown):
    targets = set(re.findall(r'href="#([^"]*)"', page))
    ids = re.findall(r' id="([^"]*)"', page)
    assert targets <= set(ids) and len(ids) == len(set(ids))
    assert targets >= {*document.PARTS, "set-test_babble_-5"}
    for link in re.findall(r'href="(\.\./decode_[^"]*)"', page):
        assert (shown.exp_dir / "report" / link).resolve().exists()


def test_an_experiment_with_scores_alone_has_a_page_that_says_what_is_missing(bare):
    path = document.write_page(bare)
    page = text_of(path.read_text())
    for text in ("config.yaml is missing", "metrics.jsonl is missing", "No sound", "No mouth",
                 "were not analysed yet", "No other experiment"):  # fmt: skip
        assert text in page
    with pytest.raises(FileNotFoundError, match="has no scores"):
        read(bare.exp_dir.parent / "nothing", bare.data_dir, bare.mouths_dir)
