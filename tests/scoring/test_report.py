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


def test_results_have_espnets_table_noise_intervals_and_names(tmp_path, two):
    first, second = two
    (tmp_path / "NOTES.md").write_text("## What it means\n\nNothing.\n")
    report.write_results(tmp_path / "RESULTS.md", [first, second], [])
    text = (tmp_path / "RESULTS.md").read_text()
    assert "* date: `20" in text and "* git: `" in text and "torch `" in text
    assert "[NOTES.md](NOTES.md)" in text and "What it means" not in text
    assert "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|" in text.replace(" ", "")
    row = ["decode_a4_v2/test", "3", "7", "85.7", "14.3", "0.0", "0.0", "14.3", "33.3"]
    assert cells(text, "| decode_a4_v2/test |") == row
    assert "alignment: levenshtein" in text and "`exp/one/report/`" in text
    head = cells(text, "| noise | SNR, dB | a4_v2")
    assert head == ["noise", "SNR, dB", "a4_v2", "a16_v5", "a4 of two"]
    row = cells(text, "| clean | - | 14.3")
    assert row == ["clean", "-", "14.3 [0.0, 33.3]", "0.0 [0.0, 0.0]", "0.0 [0.0, 0.0]"]
    assert cells(text, "| babble | -5 |") == ["babble", "-5", "14.3 [0.0, 33.3]"]
    assert cells(text, "| test |") == ["test", "active M", "steps", "a4", "a4_v2", "a16_v5"]
    assert cells(text, "| one | - | - |")[3:] == ["-", "14.3 [0.0, 33.3]", "0.0 [0.0, 0.0]"]
    assert cells(text, "| two | - | - | 14.3") == ["two", "-", "-", "14.3 [0.0, 33.3]"]
    names = text[text.index("## Names") :]
    for name in ("a4", "a4_v2", "a16_v5", "test", "test_babble_-5"):
        assert f"\n* `{name}`: " in names
    assert "](figures/one_wer.png)" in text
    assert (tmp_path / "figures/two_wer.png").exists()


def test_the_long_tables_are_in_the_folder_of_the_experiment(tmp_path, two):
    first, second = two
    report.write_results(tmp_path / "RESULTS.md", [first], [second])
    text = (first / "report/tables.md").read_text()
    for title in ("## Words", "## Characters", "## Speakers", "## All experiments"):
        assert f"\n{title}\n" in text
    speaker = cells(text, "| decode_a4_v2/test | s1 |")
    assert speaker[2:] == [*"26", "83.3", "16.7", "0.0", "0.0", "16.7", "50.0", "0.0 to 33.3"]
    assert cells(text, "| WER % | scale") == ["WER %", "scale", "test", "test_babble_-5"]
    assert cells(text, "| one | a4_v2") == ["one", "a4_v2", "14.3", "-"]
    assert cells(text, "| training |")[1:4] == ["active M", "resident M", "projectors M"]
    assert "## Characters" not in (tmp_path / "RESULTS.md").read_text()


BABBLE = ("test", "test_babble_5", "test_babble_0")


def test_gains_are_those_over_audio_alone_at_the_same_audio_rate(tmp_path):
    silent, worse = dict.fromkeys(REFERENCES, ""), REFERENCES | {"s1-a": "the dog sat"}
    av = {(s, n): worse for s in ("a4_v2", "a16_v5") for n in BABBLE}
    one = scored(tmp_path, "one", av | {("a4_v2", "test_babble_0_zeroed_video"): silent})
    lips = scored(tmp_path, "a_first", {("v2", "test"): worse, ("a4", "test"): worse})
    audio = scored(tmp_path, "one_asr", {("a4", name): silent for name in BABBLE})
    report.write_results(tmp_path / "R.md", [one], [lips, audio, one])
    text = (tmp_path / "R.md").read_text()
    assert "audio alone at the same audio rate (`one_asr`)" in text
    row = cells(text, "| babble | 0 |")
    cell = "14.3 [0.0, 33.3]"
    assert row == ["babble", "0", f"{cell} (+86 %)", cell, "100.0 [100.0, 100.0]"]
    assert cells(text, "| babble | 0 | zeroed")[3:] == ["100.0 [100.0, 100.0]", "-"]
    assert "decode_a4_v2/test_babble_0_zeroed_video" not in text
    everything = scored(
        tmp_path, "all", {("a4", "test"): worse, ("a4_v2", "test"): silent, ("v2", "test"): worse}
    )
    report.write_results(tmp_path / "R.md", [everything], [audio])
    assert "(`all`)" in (tmp_path / "R.md").read_text()
    row = cells((tmp_path / "R.md").read_text(), "| clean | - |")
    assert row[2:] == [cell, cell, "100.0 [100.0, 100.0] (-600 %)"]


def test_many_sets_and_systems_leave_the_summary_short(tmp_path):
    names = [f"test_{noise}_{snr}" for noise in ("babble", "pink") for snr in range(-10, 15, 2)]
    hyps = {(s, n): REFERENCES for s in ("a4_v2", "a16_v5") for n in ("test", *names)}
    one = scored(tmp_path, "one", hyps)
    others = [scored(tmp_path, f"x{k:02}", {("a4_v2", "test"): REFERENCES}) for k in range(20)]
    report.write_results(tmp_path / "R.md", [one], others)
    text = (tmp_path / "R.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| decode_")]
    assert len(rows) == 6 and rows[2].startswith("| decode_a4_v2/test_pink_-10 |")
    assert "all 54 rows are in tables.md" in text and "5 more experiments are in tables.md" in text
    assert len(text.splitlines()) <= 120
    assert (one / "report/tables.md").read_text().count(
        "\n| decode_a16_v5/test_pink_"
    ) == 52  # words, characters, and two speakers


def test_other_experiments_are_compared_but_not_those_moved_aside(tmp_path, two):
    first, second = two
    second.rename(second.with_name("two.20260102-030405"))
    third = scored(tmp_path, "three", {("a4", "test"): REFERENCES})
    others = report.scored_experiments(tmp_path / "exp")
    assert others == [first, third]
    report.write_results(tmp_path / "R.md", [first], others)
    text = (tmp_path / "R.md").read_text()
    assert cells(text, "| three |")[-2:] == ["-", "-"] and text.count("\n## one\n") == 1
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
