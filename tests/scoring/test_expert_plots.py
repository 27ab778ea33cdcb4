"""Figures and tables of an analysis show its numbers."""

import numpy as np
import pytest

from mome.scoring import expert_plots, figure_style

SHARES = [[1.0, 0.5, 0.5], [0.2, 0.9, 0.9]]  # two layers, three experts, two active


@pytest.fixture
def result() -> dict:
    tokens = {"audio": 30, "video": 10, "text": 0, "other": 10, "all": 50}
    pair = {"same": [0.9, 0.8], "other": [0.5, 0.7], "same_equal": [0.5] * 2}
    means = {name: [0.3, 0.5, 0.6] for name in expert_plots.WITH}
    panel = {"rows": "audio a4", "columns": "audio a16", "cosine": [[0.1], [0.9]]}
    return {
        "utterances": 7,
        "scales": ["a4_v2", "a16_v5"],
        "experts": {
            "num_routed": 3,
            "num_active": 2,
            "num_shared": 1,
            "router": "shared",
            "tokens": {"a4_v2": tokens, "a16_v5": tokens},
            "load": {
                scale: {
                    "audio": np.multiply(SHARES, factor).tolist(),
                    "video": SHARES,
                    "other": SHARES,
                    "all": SHARES,
                }
                for scale, factor in (("a4_v2", 1.0), ("a16_v5", 0.5))
            },
            "entropy": {kind: [1.0, 1.2] for kind in ("audio", "video", "other", "all")},
            "load_entropy": [1.5, 1.5],
            "usual_sets": [
                {"experts": [0, 1], "audio": 0.4, "video": 0.2, "other": 0.1, "all": 0.3},
                {"experts": [1, 2], "audio": 0.8, "video": 0.4, "other": 0.3, "all": 0.6},
            ],
            "agreement": {"video": {"a4_v2 a16_v5": pair}, "audio": {"a4_v2 a16_v5": pair}},
        },
        "similarity": {"groups": {"audio, two rates": means}},
        "example": {"panels": [panel | {"rows_s": [0, 0.08, 0.16], "columns_s": [0, 0.16]}]},
    }


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, by file name."""
    saved = {}
    monkeypatch.setattr(
        figure_style, "save", lambda figure, path, dpi: saved.update({path.name: figure})
    )
    return saved


def images(figure) -> dict[str, np.ndarray]:
    """Title -> values of each heat map."""
    return {a.get_title(): a.images[0].get_array() for a in figure.axes if a.images}


def lines(axes) -> dict[str, list]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


def test_heat_maps_have_a_panel_for_each_scale_and_each_kind_that_has_tokens(
    result, figures, tmp_path
):
    expert_plots.draw(result, tmp_path)
    by_scale = images(figures["load_by_scale.png"])
    assert list(by_scale) == ["a4_v2", "a16_v5"]
    np.testing.assert_allclose(by_scale["a4_v2"], SHARES)
    by_kind = images(figures["load_by_kind.png"])
    assert list(by_kind) == ["audio tokens", "video tokens", "other tokens"]
    np.testing.assert_allclose(by_kind["audio tokens"], np.multiply(SHARES, 0.75))


def test_lines_show_the_router_and_the_agreement(result, figures, tmp_path):
    expert_plots.draw(result, tmp_path)
    left, right = figures["router.png"].axes
    assert lines(left)["audio"] == [1.0, 1.2]
    assert lines(left)["uniform"] == pytest.approx([np.log2(3)] * 2)
    assert lines(right)["video"] == pytest.approx([20, 40])
    audio, video = figures["agreement.png"].axes
    assert (audio.get_title(), video.get_title()) == ("audio tokens", "video tokens")
    assert lines(video)["same utterance"] == pytest.approx([90, 80])
    assert lines(video)["other utterances"] == pytest.approx([50, 70])
    assert lines(video)["at random"] == pytest.approx([200 / 3] * 2)


def test_every_axis_has_a_name(result, figures, tmp_path):
    expert_plots.draw(result, tmp_path)
    for name, figure in figures.items():
        shared = figure.get_supxlabel() and figure.get_supylabel()
        named = [axes.get_ylabel() for axes in figure.axes if axes.axison]
        assert shared or any(named), name
        assert shared or all(a.get_xlabel() for a in figure.axes if a.get_label() != "<colorbar>")


def test_tables_hold_means_over_layers(result):
    experts, tokens = expert_plots.summary_tables(result)
    assert experts[1] == ["audio", "1.10", "60", "85", "60"]
    assert experts[-1] == ["all", "1.10", "45", "-", "-"]
    assert tokens[1] == ["audio, two rates: before the LLM", "0.30", "0.30", "0.30"]
    assert tokens[2][1] == "0.55"  # the layers alone


def test_the_page_says_in_words_what_was_found(result, tmp_path):
    captions = {"a.png": "What it shows."}
    expert_plots.write_page("x, test", result, ["| a |"], captions, tmp_path / "index.md")
    page = (tmp_path / "index.md").read_text()
    assert "\n\n| a |\n\n" in page
    assert page.startswith("# x, test\n\n7 utterances at a4_v2, a16_v5. 2 of 3 routed experts")
    assert "In 1 of 2 layers, more than half of the tokens take the same set" in page
    assert "A balanced load is 67 % of the tokens for each expert." in page
    assert "![a.png](a.png)\n\nWhat it shows." in page


def test_a_router_that_ignores_the_token_is_said_to(result):
    assert "ignores" not in expert_plots.describe(result)
    result["experts"]["router"] = "static"
    assert "all tokens agree by construction" in expert_plots.describe(result)


def test_findings_are_the_means_of_the_figures(result):
    found = {name: expert_plots.finding(name, result) for name in expert_plots.CAPTIONS}
    assert "0.0 of 3 experts" in found["load_by_scale"]
    assert "differs by 0 points" in found["load_by_scale"]  # the same at both scales
    assert "differs by 17 points" in found["load_by_kind"]  # a quarter of 2/3
    assert "the entropy is 1.10 of at most 1.58 bits, and 45 %" in found["router"]
    assert "audio 85 and 60 %, video 85 and 60 %" in found["agreement"]
    assert "audio, two rates: +0.00 before the LLM, +0.00 at layer 0" in found["similarity"]
    assert found["tokens"] == ""
