import json
import re

import pytest
from conftest import decoded_experiment, kaldi, random_texts

from mome.bin import score


def test_two_texts_are_scored(tmp_path, capsys):
    refs, hyps = random_texts(1)
    (tmp_path / "ref").write_text(kaldi(refs))
    (tmp_path / "hyp").write_text(kaldi(hyps))
    paths = {name: str(tmp_path / name) for name in ("ref", "hyp", "out")}
    score.main(["--ref", paths["ref"], "--hyp", paths["hyp"], "--out", paths["out"]])
    counts = json.loads((tmp_path / "out/score.json").read_text())["wer"]
    errors = counts["substitutions"] + counts["deletions"] + counts["insertions"]
    rate, words = 100 * errors / counts["words"], counts["words"]
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"WER {rate:.2f} % ({errors} of {words} words)"
    assert re.fullmatch(
        r"95 % interval \d+\.\d\d to \d+\.\d\d, by bootstrap over 40 utter.*", second
    )
    lines = (tmp_path / "out/score_wer/ref.trn").read_text().splitlines()
    assert lines[0] == f"{refs['s0-000']} (s0-s0-000)"
    assert (tmp_path / "out/score_cer/result.txt").exists()


def test_an_experiment_is_scored(tmp_path):
    exp_dir = decoded_experiment(
        tmp_path, "one", {("a4", "test"): {"s1-a": "a", "s1-b": "b", "s2-c": ""}}
    )
    score.main([str(exp_dir), "--data", str(tmp_path / "data")])
    assert "Sum/Avg" in (exp_dir / "decode_a4/test/score_wer/result.txt").read_text()


def test_texts_without_a_folder_for_the_scores_are_an_error(capsys):
    with pytest.raises(SystemExit) as error:
        score.main(["--ref", "a", "--hyp", "b"])
    assert error.value.code == 2
    assert "give an experiment folder, or --ref, --hyp and --out" in capsys.readouterr().err


def test_rules_are_those_of_the_options(tmp_path, capsys):
    (tmp_path / "ref").write_text("u-1 The cat, sat\nu-2 b a\n")
    (tmp_path / "hyp").write_text("u-1 the CAT sat\nu-2 a c\n")
    paths = [word for name in ("ref", "hyp", "out") for word in (f"--{name}", str(tmp_path / name))]
    score.main([*paths, "--ignore-case", "--remove", ",", "<unk>"])
    assert capsys.readouterr().out.startswith("WER 40.00 % (2 of 5 words)")
    score.main([*paths, "--alignment", "sclite"])
    assert json.loads((tmp_path / "out/score.json").read_text())["wer"] == {
        "sentences": 2,
        "words": 5,
        "substitutions": 2,
        "deletions": 1,
        "insertions": 1,
        "wrong_sentences": 2,
    }


def test_an_experiment_and_texts_are_not_scored_together(tmp_path, capsys):
    with pytest.raises(SystemExit):
        score.main([str(tmp_path), "--ref", "a"])
    assert "--out and --utt2spk, not both" in capsys.readouterr().err
