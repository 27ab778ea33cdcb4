"""Figures of the page: captions say what the numbers say, and nothing is left out in silence."""

import json
from itertools import combinations

import numpy as np
import pytest
from page_experiments import HYPS, scored

from mome.compression import Scale
from mome.scoring import figure_style, rate_plots
from mome.scoring.page import figures
from mome.scoring.page.glossary import describe_scale, describe_set
from mome.scoring.rate_plots import CLEAN, Point


@pytest.fixture
def drawn(monkeypatch):
    """The figures, which stay open."""
    found = []
    monkeypatch.setattr(figures.figure_style, "svg", lambda figure: found.append(figure) or b"")
    yield found
    figure_style.plt.close("all")


def lines(figure) -> dict[str, list[tuple[float, float]]]:
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in figure.axes[0].lines
        if not line.get_label().startswith("_")
    }


def test_every_system_stands_at_the_tokens_a_second_of_its_scales(full, tmp_path, drawn):
    other = scored(tmp_path, "other", {("a4", "test"): HYPS["a16_v5", "test"]})
    text = figures.by_tokens(full, [other, full], "test")
    found = lines(drawn[0])
    errors = {scale: full.scores["test", scale].error_rate for scale in ("a4_v2", "a16_v5")}
    assert found["full"] == [(8.125, errors["a16_v5"]), (25.0, errors["a4_v2"])]
    assert found["other"] == [(12.5, pytest.approx(300 / 7))]
    assert "full has its lowest error rate, 28.6 %, at a4_v2 (25 tokens a second)" in text
    assert "at a16_v5 (8.12) it is 14.3 points more than that" in text
    assert "Of 2 systems, full reaches the lowest rate, 28.6 %" in text


def test_systems_beyond_those_with_a_line_of_their_own_are_counted(drawn):
    systems = {f"s{k}": [Point(5, k)] for k in range(17)}
    figure = rate_plots.error_by_tokens("s0", systems, "test")
    found = lines(figure)
    assert list(found)[-1] == "s13" and len(found) == 15 and "3 more systems" in found
    assert len(figure.axes[0].lines) == 18


def test_error_bars_are_the_intervals_and_clean_sound_stands_apart():
    points = [Point(CLEAN, 2, 1, 4), Point(0, 8, 5, 12), Point(-5, 20, 15, 26)]
    axes = rate_plots.error_by_snr({"a4": points}, "babble").axes[0]
    bars = sorted(tuple(c.get_segments()[0][:, 1]) for c in axes.collections)
    assert bars == [(1, 4), (5, 12), (15, 26)]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["-5", "0", "clean"]
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 26


def test_captions_follow_the_numbers():
    assert figures.change(3.0, 5.04) == "2.0 points more than"
    assert figures.change(5.0, 3.0) == "2.0 points less than"
    assert figures.change(5.0, 5.01) == "the same as"
    text = figures.by_snr_caption({"a4": [Point(CLEAN, 2), Point(-5, 20)], "a16": [Point(0, 7)]})
    assert text.startswith("At a4, the error rate is 2.0 % in clean sound and 20.0 % at -5 dB; at")
    assert "intervals" not in text


def test_the_video_of_a_set_is_compared_with_its_own(full, drawn):
    text = figures.by_scale(full)
    assert (
        "test_babble_-5 with zeros for the video has 100.0 % at a4_v2, 14.3 points less than"
        in text
    )


def test_losses_are_described_by_scale(full, drawn):
    text = figures.of_training(full)
    assert "3 optimiser steps. Validation at a4_v2: lowest 1.25 at step 2, last 1.25." in text


def test_what_was_not_made_is_named_with_the_command_that_makes_it(bare, tmp_path):
    assert "metrics.jsonl is missing" in figures.of_training(bare)
    assert f"mome analyse {bare.exp_dir} --sets test" in figures.of_experts(bare)
    assert "needs two experiments of known size" in figures.by_size(bare, [])
    clean = scored(tmp_path, "clean", {("a4", "test"): HYPS["a4_v2", "test"]})
    assert "No test set in noise was decoded" in figures.by_snr(clean)


def test_an_analysis_is_drawn_with_its_tables(full, drawn):
    (full.exp_dir / "analysis/test").mkdir(parents=True)
    means = {name: [0.3, 0.5] for name in ("same_time", "other_time")}
    panel = {"rows": "audio a4", "columns": "audio a16", "cosine": [[0.1], [0.9]]}
    result = {
        "utterances": 7,
        "scales": ["a4_v2"],
        "experts": None,
        "similarity": {"groups": {"audio, two rates": means}},
        "example": {"panels": [panel | {"rows_s": [0, 0.1, 0.2], "columns_s": [0, 0.2]}]},
    }
    (full.exp_dir / "analysis/test/analysis.json").write_text(json.dumps(result))
    text = figures.of_experts(full)
    assert "Set test: 7 utterances at a4_v2. This model has no router" in text
    assert "audio, two rates: +0.00 before the LLM" in text and len(drawn) == 2
    (rows,) = figures.expert_tables(full)
    assert rows[0][0] == "test: cosine"


def test_lines_can_be_told_apart_by_everyone():
    looks = {tuple(figure_style.series(k).items()) for k in range(28)}
    assert len(looks) == 28
    greys = [(s["marker"], s["linestyle"], s["markerfacecolor"] == "white")
             for s in map(figure_style.series, range(14))]  # fmt: skip
    assert len(set(greys)) == 14  # without any colour
    # Linear RGB as those see it who lack one kind of cone (Viénot, Brettel and Mollon, 1999).
    without_red = [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
    without_green = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
    values = [[int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in figure_style.COLOURS]
    for view in (np.eye(3), without_red, without_green):
        seen = (np.array(values) ** 2.2 @ np.transpose(view)).clip(0) ** (1 / 2.2)
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.1


def test_scales_and_sets_in_words():
    assert Scale.parse("a16_v5").tokens_per_second == 3.125 + 5
    words = "4 audio frames (80 ms) and 2 video frames (80 ms) a token: 25 tokens a second"
    assert describe_scale("a4_v2") == words
    assert describe_scale("v1") == "1 video frame (40 ms) a token: 25 tokens a second"
    assert describe_set("test") == "The set test, clean"
    name = "test_free-sound_-7.5_other_video"
    assert describe_set(name) == (
        "The set test in the noise free-sound at -7.5 dB SNR, with the video of another utterance"
    )
