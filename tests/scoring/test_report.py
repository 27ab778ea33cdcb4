"""RESULTS.md and the pages of experiments."""

import pytest
from conftest import REFERENCES, decoded_experiment

from mome.scoring import report, sets


def cells(text: str, start: str) -> list[str]:
    """The cells of the first table row that begins with these."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("| \n").split("|")]


def scored(root, tag: str, hyps: dict):
    exp_dir = decoded_experiment(root, tag, hyps)
    sets.score_experiment(exp_dir, root / "data", "")
    return exp_dir


@pytest.fixture
def two(tmp_path):
    worse = REFERENCES | {"s1-a": "the dog sat"}
    first = scored(tmp_path, "one", {("a4_v2", "test"): worse, ("a16_v5", "test"): REFERENCES})
    second = scored(tmp_path, "two", {("a4", "test"): REFERENCES, ("a4", "test_babble_-5"): worse})
    return first, second


def test_a_row_per_set_and_a_column_per_scale_and_a_dash_for_what_is_missing(tmp_path, two):
    first, second = two
    (tmp_path / "NOTES.md").write_text("## What it means\n\nNothing.\n")
    report.write_results(tmp_path / "RESULTS.md", [first, second], [])
    text = (tmp_path / "RESULTS.md").read_text()
    assert "\n## What it means\n\nNothing.\n\n## one\n" in text
    assert cells(text, "| WER % | a4_v2") == ["WER %", "a4_v2", "a16_v5"]
    assert cells(text, "| test |") == ["test", "14.3", "0.0"]
    row = ["decode_a4_v2/test", "3", "7", "85.7", "14.3", "0.0", "0.0", "14.3", "33.3"]
    assert cells(text, "| decode_a4_v2/test |") == row
    assert cells(text, "| WER % | scale") == ["WER %", "scale", "test", "test_babble_-5"]
    assert cells(text, "| one | a4_v2") == ["one", "a4_v2", "14.3", "-"]
    assert cells(text, "| two |") == ["two", "a4", "0.0", "14.3"]
    assert cells(text, "| training |")[1:4] == ["active M", "resident M", "projectors M"]
    assert "](figures/one_wer.png)" in text
    assert (tmp_path / "figures/two_wer.png").exists()


def test_other_experiments_are_compared_but_not_those_moved_aside(tmp_path, two):
    first, second = two
    second.rename(second.with_name("two.20260102-030405"))
    third = scored(tmp_path, "three", {("a4", "test"): REFERENCES})
    others = report.scored_experiments(tmp_path / "exp")
    assert others == [first, third]
    report.write_results(tmp_path / "R.md", [first], others)
    text = (tmp_path / "R.md").read_text()
    assert "| three | a4 |" in text and text.count("\n## one\n") == 1
    assert "two" not in text
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["one_wer.png"]


def test_errors_by_size_are_drawn_when_two_sizes_are_known(tmp_path, two, monkeypatch):
    drawn = []
    monkeypatch.setattr(report.plots, "error_by_size", lambda found, path: drawn.append(found))
    first, second = two
    report.write_results(tmp_path / "R.md", [first], [second])
    (first / "size.json").write_text('{"active": 5}')
    report.write_results(tmp_path / "R.md", [first], [second])
    assert drawn == [] and "size.png" not in (tmp_path / "R.md").read_text()
    (second / "size.json").write_text('{"active": 7}')
    report.write_results(tmp_path / "R.md", [first], [second])
    assert "](figures/size.png)" in (tmp_path / "R.md").read_text()
    ((one, two_sizes),) = [found.values() for found in drawn]
    assert one == (5, {"a4_v2": pytest.approx(100 / 7), "a16_v5": 0})
    assert two_sizes == (7, {"a4": 0})


def test_results_of_experiments_without_scores_leave_the_old_file_as_it_is(tmp_path, two):
    (tmp_path / "RESULTS.md").write_text("old\n")
    (tmp_path / "exp/x").mkdir()
    with pytest.raises(FileNotFoundError, match="has no scores: run stages 4 and 5"):
        report.write_results(tmp_path / "RESULTS.md", [two[0]], [tmp_path / "exp/x"])
    assert (tmp_path / "RESULTS.md").read_text() == "old\n"


def test_commands_stand_once_with_their_commit(two):
    first, _ = two
    (first / "stages.tsv").write_text(
        "3\t60\t./run.sh --stage 3\tab12\n3\t2\t./run.sh --stage 3\tab12\n4\t6\t./run.sh\t\n"
    )
    assert report.commands(first) == [("./run.sh --stage 3", "ab12"), ("./run.sh", "-")]
    text = report.history(first)
    assert text.startswith("* command: `./run.sh --stage 3` (git: `ab12`)\n* command: `./run.sh`")
    assert "1.1 in all" in text
