"""The table of costs, its title and its figure."""

import json

import pytest

from mome.scoring import cost_report, scale_cost, wer

SCALES = ["a1_v1", "a4_v2", "a16_v5"]
TIMES = {
    "encode_s": 123.4, "prefill_s": 1234.5, "token_s": 1.2345, "decode_s": 1234.5,
    "peak_bytes": 123e9, "total_s": 2592.4, "real_time_factor": 112.345,
}  # fmt: skip


def row(clip_s: float, scale: str, **more) -> dict:
    found = scale_cost.Cost(
        clip_s, scale, int(75 * clip_s), int(75 * clip_s) + 13, int(4 * clip_s),
        int(3e12 * clip_s), int(1e11 * clip_s), int(1e8 * clip_s),
    )  # fmt: skip
    return vars(found) | more


ROWS = [row(clip_s, scale) for clip_s in (2.0, 123.5) for scale in SCALES]
TIMED = [r | TIMES for r in ROWS]


@pytest.mark.parametrize("rows", [ROWS, TIMED])
def test_the_table_fits_a_terminal_and_has_a_line_for_each_row(rows):
    lines = cost_report.table(rows).splitlines()
    assert len(lines) == 2 + len(rows) and max(map(len, lines)) <= 100
    assert lines[2].split()[:4] == ["2", "a1_v1", "75.0", "163"]


def test_cells_are_in_their_columns():
    head, _, first, *_ = cost_report.table(TIMED).splitlines()
    assert head.split()[:4] == ["clip", "s", "scale", "tokens/s"]
    assert first.split()[4:] == ["6.2", "123.40", "1234.50", "1234.5", "1234.50", "123.00",
                                 "112.345"]  # fmt: skip
    counted = cost_report.table(ROWS).splitlines()[2].split()
    assert counted[4:] == ["8", "6", "0.2", "6.2", "200"]


def test_memory_that_is_not_known_is_a_dash():
    unknown = [r | {"peak_bytes": None} for r in TIMED]
    assert cost_report.table(unknown).splitlines()[2].split()[-2] == "-"


def test_the_title_says_when_layers_were_left_out():
    about = {"model": "conf/x.yaml", "beams": 15, "layers": 16, "text_per_s": 4.0}
    assert cost_report.title(about) == "conf/x.yaml: 16 layers, 15 beams, 4 text tokens a second"
    about |= {"device": "cpu", "threads": 2, "dtype": "float32", "rounds": 1, "layers_built": 16}
    assert cost_report.title(about).splitlines()[1:] == ["cpu, 2 threads, float32, 1 round"]
    text = cost_report.title(about | {"layers_built": 2}).splitlines()[-1]
    assert text.startswith("MEASURED WITH 2 OF 16 LAYERS") and "multiplied by 8" in text


def test_rows_get_the_error_rate_of_the_clean_set(tmp_path):
    for name, substitutions in (("test_babble_0", 50), ("test", 5)):
        folder = tmp_path / "decode_a4_v2" / name
        folder.mkdir(parents=True)
        counts = vars(wer.Score(sentences=9, words=100)) | {"substitutions": substitutions}
        (folder / "score.json").write_text(json.dumps({"wer": counts}))
    rows = [row(2.0, scale) for scale in SCALES]
    cost_report.add_error_rates(rows, tmp_path)
    assert [r.get("wer") for r in rows] == [None, 5.0, None]
    cost_report.add_error_rates(rows, tmp_path / "none")  # an experiment that was not scored


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved = []
    monkeypatch.setattr(cost_report, "save", lambda figure, path, dpi: saved.append(figure))
    return saved


def test_the_figure_has_a_panel_for_what_is_known(figures, tmp_path):
    scored = [r | ({} if r["scale"] == "a1_v1" else {"wer": 3.0}) for r in TIMED]
    for rows, panels in ((ROWS, 1), (TIMED, 2), (scored, 3)):
        cost_report.figure(rows, tmp_path / "x.png")
        assert len(figures[-1].axes) == panels
    lines = figures[1].axes[0].lines
    assert [line.get_label() for line in lines] == SCALES
    assert list(lines[0].get_ydata()) == pytest.approx([6.2, 3.1 * 123.5])
    points = figures[2].axes[2].lines
    assert [line.get_xdata()[0] for line in points] == pytest.approx([3.1 * 123.5] * 2)
    bars = figures[1].axes[1].containers
    assert [len(part) for part in bars] == [6, 6, 6]
    heights = [part[0].get_height() for part in bars]
    assert heights == pytest.approx([123.4 / 2, 1234.5 / 2, 1234.5 / 2])
    tops = [part[0].get_y() for part in bars]
    assert tops == pytest.approx([0, heights[0], heights[0] + heights[1]])


def test_a_figure_is_written(tmp_path):
    cost_report.figure([r | {"wer": 2.0} for r in TIMED], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
