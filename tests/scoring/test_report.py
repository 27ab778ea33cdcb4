import json

import pytest

from mome.bin import report as command
from mome.bin import score
from mome.scoring import report

TEXTS = {"s1-a": "the cat sat", "s1-b": "on the mat", "s2-c": "<b>"}


def kaldi(texts: dict[str, str]) -> str:
    return "".join(f"{u} {t}\n" for u, t in texts.items())


def experiment(tmp_path, tag: str, heard: dict[tuple[str, str], dict[str, str]]):
    """A scored experiment: what was heard, by scale and set."""
    data = tmp_path / "data/test"
    data.mkdir(parents=True, exist_ok=True)
    (data / "text").write_text(kaldi(TEXTS))
    (data / "utt2spk").write_text(kaldi({u: u.split("-")[0] for u in TEXTS}))
    for (scale, name), texts in heard.items():
        folder = tmp_path / f"exp/{tag}/decode_{scale}/{name}"
        folder.mkdir(parents=True)
        (folder / "text").write_text(kaldi(texts))
        (folder / "decode.json").write_text(json.dumps({"data": str(data)}))
    score.main([str(tmp_path / f"exp/{tag}"), "--data", str(tmp_path / "data")])
    return tmp_path / f"exp/{tag}"


def cells(text: str, start: str) -> list[str]:
    """The cells of the first table row that begins with these."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("| \n").split("|")]


@pytest.fixture
def two(tmp_path):
    worse = TEXTS | {"s1-a": "the dog sat"}
    first = experiment(tmp_path, "one", {("a4_v2", "test"): worse, ("a16_v5", "test"): TEXTS})
    second = experiment(tmp_path, "two", {("a4", "test"): TEXTS, ("a4", "test_babble_-5"): worse})
    return first, second


def test_a_row_per_set_and_a_column_per_scale_and_a_dash_for_what_is_missing(tmp_path, two, capsys):
    first, second = two
    (tmp_path / "NOTES.md").write_text("## What it means\n\nNothing.\n")
    command.main([str(first), str(second), "--results", str(tmp_path / "RESULTS.md")])
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
    assert "test_babble_-5" in capsys.readouterr().out
    assert "](figures/one_wer.png)" in text
    assert (tmp_path / "figures/two_wer.png").exists()


def test_sets_stand_by_noise_and_falling_snr_whatever_the_noise_is_called():
    checks = ["test", "test_zeroed_video", "test_babble_0", "test_babble_0_zeroed_video"]
    noisy = [
        f"test_{noise}_{snr}"
        for noise in ("factory_1", "free-sound", "hall_2_b", "speech_shaped", "white2")
        for snr in ("12.5", "7.5", "2.5", "0", "-2.5", "-7.5", "-10")
    ]
    assert report.order_sets(set(checks + noisy)) == checks + noisy


def test_experiments_beside_are_compared_but_not_those_moved_aside(tmp_path, two):
    first, second = two
    second.rename(second.with_name("two.20260102-030405"))
    experiment(tmp_path, "three", {("a4", "test"): TEXTS})
    beside = ["--beside", str(tmp_path / "exp"), "--results", str(tmp_path / "R.md")]
    command.main([str(first), *beside])
    text = (tmp_path / "R.md").read_text()
    assert "| three | a4 |" in text
    assert "two" not in text


def test_the_page_shows_figures_commands_and_texts(tmp_path, two):
    first, _ = two
    (first / "stages.tsv").write_text(
        "3\t60\t./run.sh --stage 3\tab12\n3\t2\t./run.sh --stage 3\t\n"
    )
    lines = [{"step": k, "loss": 3.0 / k} for k in range(1, 5)] + [{"step": 4, "valid_loss_a4": 1}]
    (first / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = report.write_page(first).read_text()
    assert "<code>./run.sh --stage 3</code> (git: <code>ab12</code>)" in page
    assert "1.0 in all" in page
    assert "&lt;b&gt;" in page and "<td>the dog sat</td>" in page and "<table>" in page
    for figure in ("wer.png", "loss.png"):
        assert figure in page
        assert (first / "report" / figure).read_bytes().startswith(b"\x89PNG")


def test_what_is_scored_already_is_left_alone(tmp_path, two):
    first, _ = two
    path = first / "decode_a4_v2/test/score_wer/result.txt"
    path.write_text("mine\n")
    again = [str(first), "--data", str(tmp_path / "data")]
    score.main(again)
    assert path.read_text() == "mine\n"
    (first / "decode_a4_v2/test/text").write_text(kaldi(TEXTS))
    score.main(again)
    assert "Sum/Avg" in path.read_text()


def test_nothing_scored_is_an_error(tmp_path):
    (tmp_path / "exp/x").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="has no scores: run stages 4 and 5"):
        command.main([str(tmp_path / "exp/x")])


def test_how_much_a_training_read_stands_beside_its_size(tmp_path, two):
    first, second = two
    (first / "size.json").write_text('{"active": 2500000, "resident": 7180000, "projectors": 1}')
    steps = [{"step": k, "text_tokens": 600, "llm_tokens": 1000, "loss": 1.0} for k in (1, 2)]
    lines = [*steps, {"step": 2, "valid_loss": 1.0}]
    (first / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = report.markdown(report.costs([first, second]))
    assert cells(table, "| one |") == ["one", "2.50", "7.18", "0.00", "2", "1,200", "2,000"]
    assert cells(table, "| two |") == ["two", *"------"]
