"""Figures: what is drawn, and files that are whole."""

import numpy as np
import pytest

from mome.compression import Scale
from mome.scoring import figure_style, plots


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved = []
    monkeypatch.setattr(plots, "save", lambda figure, path, dpi: saved.append(figure))
    return saved


def test_there_is_a_box_for_each_token(tmp_path, monkeypatch):
    drawn = []
    barh = figure_style.plt.Axes.broken_barh
    monkeypatch.setattr(
        figure_style.plt.Axes,
        "broken_barh",
        lambda self, boxes, *a, **k: drawn.append(boxes) or barh(self, boxes, *a, **k),
    )
    images, mouths = np.zeros((26, 8, 8, 3), np.uint8), np.zeros((26, 96, 96), np.uint8)
    scales = [Scale(audio=4, video=2), Scale(audio=16, video=5)]
    plots.clip(images, mouths, np.ones(16320), scales, "", tmp_path / "c.png")  # 51 audio frames
    assert [len(boxes) for boxes in drawn] == [13, 4, 13, 6]
    assert [sum(w for _, w in boxes) for boxes in drawn] == pytest.approx([1.02, 1.02, 1.04, 1.04])


def test_a_set_with_another_video_has_the_colour_of_its_set_and_a_broken_line(figures, tmp_path):
    names = ["test", "test_other_video", "test_zeroed_video", "test_a_b_-7.5"]
    names += ["test_a_b_-7.5_zeroed_video", "Odd"]
    rates = {name: {"a4": 10.0 + k, "a16": 20.0 + k} for k, name in enumerate(names)}
    plots.error_by_scale(rates, tmp_path / "x.png")
    lines = figures[0].axes[0].lines
    assert [line.get_label() for line in lines] == [name.replace("_", " ") for name in names]
    assert [line.get_linestyle() for line in lines] == ["-", ":", "--", "-", "--", "-"]
    colours = [figure_style.COLOURS.index(line.get_color()) for line in lines]
    assert colours == [0, 0, 0, 1, 1, 2]
    assert [list(line.get_ydata()) for line in lines[:2]] == [[10, 20], [11, 21]]


def test_errors_stand_above_the_active_parameters_of_their_experiment(figures, tmp_path):
    rates = {"a4_v2": 2.0, "a16_v5": 4.0}
    experiments = {f"model_{k}": ((k + 1) * 10**6, rates) for k in range(8)}
    plots.error_by_size(experiments, tmp_path / "x.png")
    axes = figures[0].axes[0]
    points = [
        (*line.get_xdata(), *line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 1
    ]
    assert points == [(k + 1, y) for k in range(8) for y in (2, 4)]
    legend = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert legend == [*(f"{k + 1}: model {k}" for k in range(8)), "a4_v2", "a16_v5"]
    assert [text.get_text() for text in axes.texts] == [str(k + 1) for k in range(8)]
    looks = {(line.get_color(), line.get_markerfacecolor()) for line in axes.lines}
    assert len(looks - {("0.5", "0.5")}) >= 8  # the eighth is hollow


def test_experiments_of_equal_size_stand_side_by_side(figures, tmp_path):
    experiments = {name: (size, {"a4": 1.0}) for name, size in (("a", 10), ("b", 50), ("c", 50))}
    plots.error_by_size(experiments, tmp_path / "x.png")
    lines = [line for line in figures[0].axes[0].lines if line.get_marker() == "o"]
    places = [line.get_xdata()[0] * 1e6 for line in lines if len(line.get_xdata())]
    assert places == pytest.approx([10, 49.5, 50.5])


def test_curves_show_cross_entropy_validation_and_the_floor(figures, tmp_path):
    metrics = [{"step": k, "loss": 9.0, "cross_entropy": 1.0} for k in range(1, 4)]
    metrics += [{"step": 3, "valid_loss_a4": 2.0}, {"step": 3, "valid_loss_v2": 3.0}]
    plots.training_curves(metrics, tmp_path / "x.png", floor=2.5)
    labels = {line.get_label(): list(line.get_ydata()) for line in figures[0].axes[0].lines}
    assert labels["training (smoothed)"] == [1.0, 1.0, 1.0]
    assert labels["a4 (marker: validation)"] == [2.0]
    assert labels["v2 (marker: validation)"] == [3.0]
    assert labels["text alone"] == [2.5, 2.5]


def test_smoothing_keeps_a_constant_and_the_mean_of_a_window():
    assert plots.smooth((2.0,) * 50) == pytest.approx(np.full(50, 2.0))
    assert plots.smooth((0.0, 3.0, 6.0)) == pytest.approx([1.5, 3.0, 4.5])


@pytest.mark.parametrize(
    "name, start", [("x.png", b"\x89PNG"), ("x.pdf", b"%PDF"), ("x", b"\x89PNG")]
)
def test_the_suffix_is_the_format_of_a_figure(tmp_path, name, start):
    plots.error_by_scale({"test": {"a4": 1.0}}, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]
