"""Scoring of sets: files, units, errors that name file and line, nothing stale or done twice."""

import json
from dataclasses import asdict

import pytest
from conftest import REFERENCES, decoded_experiment, kaldi, random_texts

from mome.scoring import sclite, sets, statistics, tables, wer
from mome.scoring.texts import Rules
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
    assert counts.keys() - {"intervals", "speakers", "rules", "digests"} == {"wer", "cer"}
    assert wer.Score(**counts["wer"]) == result == wer.score(*random_texts(1))
    assert counts["cer"]["words"] > counts["wer"]["words"]
    for unit in ("wer", "cer"):
        names = {path.name for path in (tmp_path / f"out/score_{unit}").iterdir()}
        files = {"ref.trn", "hyp.trn", "result.txt", "utterances.tsv"}
        assert names - {"sclite.txt"} == files
    again = sets.read_aligned(tmp_path / "out/score_wer")
    assert again == result and again.aligned == result.aligned
    assert sets.read_aligned(tmp_path / "out/score_cer").as_dict() == counts["cer"]
    assert "<space>" in (tmp_path / "out/score_cer/ref.trn").read_text()


def test_a_token_model_adds_token_error_rates(tmp_path):
    make_tokenizer(sorted(REFERENCES.values()), tmp_path)
    ref, hyp = write_texts(tmp_path, REFERENCES, HYPOTHESES)
    sets.score_set(ref, hyp, tmp_path / "out", None, str(tmp_path / "sentencepiece.model"))
    counts = json.loads((tmp_path / "out/score.json").read_text())["ter"]
    assert counts["words"] > 7 and counts["wrong_sentences"] == 1
    assert "\u2581" in (tmp_path / "out/score_ter/ref.trn").read_text()


def test_texts_that_are_missing_or_do_not_fit_are_named(tmp_path, tell):
    ref, hyp = write_texts(tmp_path, {"a": "x", "b": "y"}, {"a": "x"})
    with pytest.raises(
        ValueError, match=r"hyp against .*ref: 1 of 2 utterances \(b\) have no hyp"
    ) as e:
        sets.score_set(ref, hyp, tmp_path / "out", None, "")
    tell("an utterance without a hypothesis", e.value)
    with pytest.raises(
        FileNotFoundError, match=r"has no decode_<scale>/<set>/text: run stage 4"
    ) as e:
        sets.score_experiment(tmp_path, tmp_path, "")
    tell("nothing was decoded", e.value)


DAMAGED = {  # name: what is in the file, what is said
    "an id comes twice": (
        {"hyp": b"s1-a x\ns1-b y\ns1-a z\n"},
        "hyp, line 3: s1-a is on line 1 too",
    ),
    "a blank line": ({"hyp": b"s1-a x\n \ns1-b y\n"}, "hyp, line 2 is empty"),
    "a blank line at the end": ({"ref": b"s1-a x\n\n"}, "ref, line 2 is empty"),
    "latin-1": ({"ref": b"s1-a x\ns1-b \xe9t\xe9\n"}, "ref, line 2: byte 0xe9 is not UTF-8"),
    "one file is empty": ({"hyp": b""}, "hyp is empty"),
    "both files are empty": ({"ref": b"", "hyp": b""}, "ref is empty"),
    "no hypotheses": ({"hyp": None}, "hyp is missing: decode it (stage 4)"),
    "no utt2spk": ({"utt2spk": None}, "{}/utt2spk is missing"),
    "no speaker": ({"utt2spk": b"s1-a s1\ns1-b\ns2-c s2\n"}, "utt2spk, line 2: s1-b has no value"),
    "speakers of others": ({"utt2spk": b"s1-a s1\n"}, "2 of 3 utterances (s1-b, s2-c) have no spe"),
    "no token model": ({"model": None}, "there is no SentencePiece model {}/model"),
    "no model in the file": ({"model": b"text\n"}, "{}/model is not a SentencePiece model"),
    "a trn id of two": (
        {
            "ref": b"b-c x\nc x\n",
            "hyp": b"b-c x\nc x\n",
            "utt2spk": b"b-c a\nc a-b\n",
        },
        "no trn file can be written: the id a-b-c in it is that of two utterances",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named_with_its_line_and_leaves_no_old_scores(tmp_path, case, tell):
    contents, message = DAMAGED[case]
    write_texts(tmp_path, REFERENCES, HYPOTHESES)
    (tmp_path / "utt2spk").write_text(kaldi({u: u[:2] for u in REFERENCES}))
    paths = {name: tmp_path / name for name in ("ref", "hyp", "utt2spk", "model")}
    sets.score_set(paths["ref"], paths["hyp"], tmp_path / "out", paths["utt2spk"])
    assert (tmp_path / "out/score.json").exists()
    for name, content in contents.items():
        if content is None:
            paths[name].unlink(missing_ok=True)
        else:
            paths[name].write_bytes(content)
    model = str(paths["model"]) if "model" in contents else ""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        sets.score_set(paths["ref"], paths["hyp"], tmp_path / "out", paths["utt2spk"], model)
    assert message.replace("{}", str(tmp_path)) in tell(case, error.value)
    assert not (tmp_path / "out/score.json").exists()


def test_scores_of_an_older_text_are_never_reported(tmp_path, caplog):
    hyps = {("a4", name): HYPOTHESES for name in ("test", "test_babble_0", "test_babble_5")}
    exp_dir = decoded_experiment(tmp_path, "one", hyps)
    sets.score_experiment(exp_dir, tmp_path / "data")
    assert len(tables.read_scores(exp_dir)) == 3
    (exp_dir / "decode_a4/test/text").write_text("s1-a x\n")  # damaged
    (exp_dir / "decode_a4/test_babble_0/text").write_text(kaldi(REFERENCES))
    assert list(tables.read_scores(exp_dir)) == [("test_babble_5", "a4")]
    assert "decode_a4/test/score.json is left out" in caplog.text
    with pytest.raises(ValueError, match=r"2 of 3 utterances .* have no hypothesis"):
        sets.score_experiment(exp_dir, tmp_path / "data")
    # The first set cannot be scored. The second was not reached; its old scores are gone as well.
    assert not (exp_dir / "decode_a4/test_babble_0/score.json").exists()
    assert list(tables.read_scores(exp_dir)) == [("test_babble_5", "a4")]


def test_intervals_speakers_and_rules_are_kept(tmp_path):
    refs, hyps = random_texts(1)
    ref, hyp = write_texts(tmp_path, {u: t.upper() for u, t in refs.items()}, hyps)
    rules = Rules("sclite", ignore_case=True, remove=("'",))
    result = sets.score_set(ref, hyp, tmp_path / "out", rules=rules)
    found = json.loads((tmp_path / "out/score.json").read_text())
    interval = statistics.error_rate_interval(result)
    assert found["intervals"]["wer"] == asdict(interval)
    assert interval.low < result.error_rate < interval.high
    assert found["rules"] == {"alignment": "sclite", "ignore_case": True, "remove": ["'"]}
    assert "alignment: sclite; case ignored; removed: '" in (
        (tmp_path / "out/score_wer/result.txt").read_text()
    )
    assert "dont" in (tmp_path / "out/score_wer/ref.trn").read_text()
    speakers = result.by_speaker()
    assert list(found["speakers"]) == list(speakers) == ["s0", "s1", "s2", "s3"]
    for speaker, counts in found["speakers"].items():
        low, high = (counts["interval"][end] for end in ("low", "high"))
        assert low <= speakers[speaker].error_rate <= high
        assert counts.items() >= speakers[speaker].as_dict().items()


def test_speakers_come_from_utt2spk_or_from_the_ids(tmp_path):
    ref, hyp = write_texts(tmp_path, REFERENCES, HYPOTHESES)
    utt2spk = tmp_path / "utt2spk"
    by_id = sets.score_set(ref, hyp, tmp_path / "out").by_speaker()
    utt2spk.write_text(kaldi(dict.fromkeys(REFERENCES, "everyone")))
    by_table = sets.score_set(ref, hyp, tmp_path / "out", utt2spk).by_speaker()
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
