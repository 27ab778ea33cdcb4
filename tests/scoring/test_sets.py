"""Scoring of sets: files, units, errors that name the files, and nothing done twice."""

import json

import pytest
from conftest import REFERENCES, decoded_experiment, kaldi, random_texts

from mome.scoring import sclite, sets, wer
from mome.synthesis.baby_models import make_tokenizer

HYPOTHESES = REFERENCES | {"s1-a": "the dog sat"}


def write_texts(folder, refs, hyps):
    (folder / "ref").write_text(kaldi(refs))
    (folder / "hyp").write_text(kaldi(hyps))
    return folder / "ref", folder / "hyp"


def test_a_set_is_scored_in_each_unit(tmp_path):
    ref, hyp = write_texts(tmp_path, *random_texts(1))
    result = sets.score_set(ref, hyp, tmp_path / "out", None, "")
    counts = json.loads((tmp_path / "out/score.json").read_text())
    assert counts.keys() == {"wer", "cer"}
    assert wer.Score(**counts["wer"]) == result == wer.score(*random_texts(1))
    assert counts["cer"]["words"] > counts["wer"]["words"]
    for unit in ("wer", "cer"):
        names = {path.name for path in (tmp_path / f"out/score_{unit}").iterdir()}
        assert names - {"sclite.txt"} == {"ref.trn", "hyp.trn", "result.txt"}
    refs = sclite.read_trn(tmp_path / "out/score_wer/ref.trn")
    assert refs == random_texts(1)[0]
    assert "<space>" in (tmp_path / "out/score_cer/ref.trn").read_text()


def test_a_token_model_adds_token_error_rates(tmp_path):
    make_tokenizer(sorted(REFERENCES.values()), tmp_path)
    ref, hyp = write_texts(tmp_path, REFERENCES, HYPOTHESES)
    sets.score_set(ref, hyp, tmp_path / "out", None, str(tmp_path / "sentencepiece.model"))
    counts = json.loads((tmp_path / "out/score.json").read_text())["ter"]
    assert counts["words"] > 7 and counts["wrong_sentences"] == 1
    assert "\u2581" in (tmp_path / "out/score_ter/ref.trn").read_text()


def test_texts_that_are_missing_or_do_not_fit_are_named(tmp_path):
    ref, hyp = write_texts(tmp_path, {"a": "x", "b": "y"}, {"a": "x"})
    with pytest.raises(ValueError, match=r"hyp against .*ref: 1 of 2 utterances \(b\) have no hyp"):
        sets.score_set(ref, hyp, tmp_path / "out", None, "")
    hyp.unlink()
    with pytest.raises(FileNotFoundError, match=r"hyp is missing: decode it \(stage 4\)"):
        sets.score_set(ref, hyp, tmp_path / "out", None, "")
    with pytest.raises(FileNotFoundError, match=r"has no decode_<scale>/<set>/text: run stage 4"):
        sets.score_experiment(tmp_path, tmp_path, "")


def test_speakers_come_from_utt2spk_where_there_is_one(tmp_path):
    ref, hyp = write_texts(tmp_path, REFERENCES, HYPOTHESES)
    utt2spk = tmp_path / "utt2spk"
    by_id = sets.score_set(ref, hyp, tmp_path / "out", utt2spk, "").by_speaker()
    utt2spk.write_text(kaldi(dict.fromkeys(REFERENCES, "everyone")))
    by_table = sets.score_set(ref, hyp, tmp_path / "out", utt2spk, "").by_speaker()
    assert list(by_id) == ["s1", "s2"] and list(by_table) == ["everyone"]


def test_only_what_changed_is_scored_again(tmp_path):
    hyps = {("a4", "test"): HYPOTHESES, ("a4", "test_babble_0"): HYPOTHESES}
    exp_dir = decoded_experiment(tmp_path, "one", hyps)
    sets.score_experiment(exp_dir, tmp_path / "data", "")
    paths = [exp_dir / f"decode_a4/{name}/score_wer/result.txt" for _, name in hyps]
    for path in paths:
        path.write_text("mine\n")
    sets.score_experiment(exp_dir, tmp_path / "data", "")
    assert [path.read_text() for path in paths] == ["mine\n", "mine\n"]
    (exp_dir / "decode_a4/test/text").write_text(kaldi(REFERENCES))
    sets.score_experiment(exp_dir, tmp_path / "data", "")
    assert "Sum/Avg" in paths[0].read_text() and paths[1].read_text() == "mine\n"
    (tmp_path / "data/test/text").write_text(kaldi(HYPOTHESES))
    sets.score_experiment(exp_dir, tmp_path / "data", "")
    assert "Sum/Avg" in paths[1].read_text()


def test_counts_of_nist_sclite_are_a_note_of_the_word_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(sclite, "run_sclite", lambda folder: (7, 2))
    ref, hyp = write_texts(tmp_path, REFERENCES, HYPOTHESES)
    sets.score_set(ref, hyp, tmp_path / "out", None, "")
    note = "NIST sclite counts 2 errors in 7 words; here, 1 in 7."
    assert note in (tmp_path / "out/score_wer/result.txt").read_text()
    assert "NIST" not in (tmp_path / "out/score_cer/result.txt").read_text()
