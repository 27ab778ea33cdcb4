"""`mome cascade`: the threshold in the model's folder, tables, decodings that do not fit."""

import json
import logging

import pytest
import torch

from mome import checkpoint, config, files
from mome.bin import cascade
from mome.config import Config, ModelConfig
from mome.transcription.cascade import Cascade, read

SETS = ("valid", "test", "test_babble_0")
REFS = {f"s{k}-1": f"a{k} b{k} c{k} d{k}" for k in range(6)}
SEARCH = {"num_beams": 1, "batch_size": 56}


@pytest.fixture
def exp_dir(tmp_path, monkeypatch):
    """exp/x, decoded at a16 and a4: at a16, the first three clips have errors and low scores."""
    monkeypatch.chdir(tmp_path)
    exp_dir = tmp_path / "exp/x"
    cfg = Config(model=ModelConfig(task="asr"))
    checkpoint.save(exp_dir / "best", {"w": torch.ones(1)}, cfg, {})
    config.save(cfg, exp_dir / "config.yaml")
    record = {"seconds": 3.0, "model": files.digest(exp_dir / "best" / checkpoint.FILE)}
    for name in SETS:
        data = tmp_path / "data" / name
        write(data / "text", REFS)
        write(data / "utt2spk", {u: u[:2] for u in REFS})
        write(data / "utt2dur", dict.fromkeys(REFS, 2))
        for scale in ("a16", "a4"):
            folder = exp_dir / f"decode_{scale}" / name
            bad = {u: scale == "a16" and u < "s3" for u in REFS}
            write(folder / "text", {u: "x y" if bad[u] else REFS[u] for u in REFS})
            write(folder / "score", {u: -1 - int(u[1]) / 10 if bad[u] else -0.1 for u in REFS})
            own = record | {"data": f"data/{name}", "search": SEARCH}
            files.write_json(folder / "decode.json", own)
    return exp_dir


def write(path, table):
    files.write_text(path, "".join(f"{u} {value}\n" for u, value in table.items()))


def test_the_threshold_is_kept_and_each_system_of_each_set_has_a_row(exp_dir, capsys):
    cascade.main(["exp/x", "--json", "x.json"])
    found, record = read(exp_dir / "best", Cascade.parse("a16,a4"))
    assert found.threshold == -0.1 and record["set"] == "valid" and record["search"] == SEARCH
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines() if line.startswith("test ")]
    assert [line[1] for line in lines] == ["a16", "a4", "cascade", "oracle", "a16", "a4"]
    figures = json.loads((exp_dir.parents[1] / "x.json").read_text())
    rows = {(row["set"], row["system"]): row for row in figures["rows"]}
    cascades = {"valid": "cascade, held out", "test": "cascade", "test_babble_0": "cascade"}
    assert set(rows) == {(s, n) for s in SETS for n in ("a16", "a4", cascades[s], "oracle")}
    row = rows["test_babble_0", "cascade"]
    assert (row["wer"], row["twice"], row["tokens_per_s"]) == (0, 0.5, 3.125 + 12.5 / 2)
    assert row["seconds"] == pytest.approx(0.5 * 1.5) and rows["test", "a16"]["wer"] == 50
    assert row["interval"] == [0, 0]


def test_only_the_sets_that_are_named_are_shown(exp_dir, capsys):
    cascade.main(["exp/x", "--sets", "test", "--scales", "a16", "a4", "--gain", "0.5"])
    out = capsys.readouterr().out
    assert "test_babble_0" not in out and "test " in out
    assert read(exp_dir / "best", Cascade.parse("a16,a4"))[1]["gain"] == 0.5


def test_a_finer_scale_that_saves_nothing_is_said_so(exp_dir, caplog):
    write(exp_dir / "decode_a16/valid/text", REFS)
    with caplog.at_level(logging.WARNING):
        cascade.main(["exp/x", "--sets"])
    assert "a4 has no fewer errors than a16 on the 6 clips of valid (0 and 0)" in caplog.text


def test_a_cascade_that_takes_as_long_as_the_finer_scale_is_said_so(exp_dir, caplog):
    cascade.main(["exp/x", "--sets"])
    assert "50 % of the clips are decoded twice: 0.750 s a clip, where a4 alone" in caplog.text
    caplog.clear()
    path = exp_dir / "decode_a16/valid/decode.json"
    files.write_json(path, json.loads(path.read_text()) | {"seconds": 1.0})
    cascade.main(["exp/x", "--sets"])
    assert "decoded twice" not in caplog.text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": "other"}, "decode_a4/valid was decoded with other weights than those of model"),
        ({"search": {"num_beams": 5}}, "decode_a4/valid was decoded with other settings than a16"),
    ],
)
def test_decodings_that_do_not_fit_are_refused(exp_dir, change, message):
    path = exp_dir / "decode_a4/valid/decode.json"
    files.write_json(path, json.loads(path.read_text()) | change)
    with pytest.raises(ValueError, match=message):
        cascade.main(["exp/x"])
    assert not (exp_dir / "best/cascade.json").exists()


def test_a_set_that_is_not_decoded_is_an_error_that_names_the_command(exp_dir):
    with pytest.raises(FileNotFoundError, match=r"mome decode exp/x --sets dev --scales a16$"):
        cascade.main(["exp/x", "--valid", "dev"])
