"""Tables: the order of sets and scales, and a dash for what was not measured."""

import json

import pytest

from mome.scoring import tables, wer

GOOD, BAD = wer.Score(sentences=2, words=10), wer.Score(2, 10, substitutions=5)


def test_sets_are_ordered_by_noise_and_falling_snr_whatever_the_noise_is_called():
    checks = ["test", "test_zeroed_video", "test_babble_0", "test_babble_0_zeroed_video"]
    noisy = [
        f"test_{noise}_{snr}"
        for noise in ("factory_1", "free-sound", "hall_2_b", "speech_shaped", "white2")
        for snr in ("12.5", "7.5", "2.5", "0", "-2.5", "-7.5", "-10")
    ]
    assert tables.order_sets(set(checks + noisy)) == checks + noisy


def test_scales_are_ordered_from_fine_to_coarse():
    scales = ["v2", "a4", "a4_v2", "a4_v5", "a16", "a16_v5"]
    assert tables.order_scales(set(scales)) == scales


def test_rates_are_by_set_and_scale():
    scores = {("test", "a16"): BAD, ("test", "a4"): GOOD, ("test_babble_0", "a4"): BAD}
    assert tables.matrix(scores) == [
        ["WER %", "a4", "a16"],
        ["test", "0.0", "50.0"],
        ["test_babble_0", "50.0", "-"],
    ]
    assert tables.comparison({"x": scores, "y": {("test", "v2"): GOOD}}) == [
        ["WER %", "scale", "test", "test_babble_0"],
        ["x", "a4", "0.0", "50.0"],
        ["x", "a16", "50.0", "-"],
        ["y", "v2", "0.0", "-"],
    ]


def test_size_and_amounts_of_training_are_a_row_of_each_experiment(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    (first / "size.json").write_text('{"active": 2500000, "resident": 7180000, "projectors": 1}')
    steps = [{"step": k, "text_tokens": 600, "llm_tokens": 1000, "loss": 1.0} for k in (1, 2)]
    lines = [*steps, {"step": 2, "valid_loss": 1.0}]
    (first / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert tables.costs([first, second])[1:] == [
        ["one", "2.50", "7.18", "0.00", "2", "1,200", "2,000"],
        ["two", *"------"],
    ]


def test_a_table_as_text():
    rows = [["WER %", "a4"], ["test", "10.0"]]
    assert tables.plain(rows) == "WER %    a4\n-----------\ntest   10.0"
    assert tables.markdown(rows) == "| WER % | a4 |\n|---|---|\n| test | 10.0 |\n"


def test_an_experiment_without_scores_is_an_error_but_a_unit_without_scores_is_not(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no scores: run stages 4 and 5"):
        tables.read_scores(tmp_path)
    folder = tmp_path / "decode_a4/test"
    folder.mkdir(parents=True)
    (folder / "score.json").write_text(json.dumps({"wer": GOOD.as_dict()}))
    assert tables.read_scores(tmp_path) == {("test", "a4"): GOOD}
    assert tables.read_scores(tmp_path, "ter") == {}
