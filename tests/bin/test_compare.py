import json

import pytest
from conftest import kaldi, random_texts

from mome.bin import compare
from mome.scoring import sets


@pytest.fixture
def texts(tmp_path):
    refs, hyps = random_texts(1)
    others = {u: refs[u] if k % 2 else text for k, (u, text) in enumerate(hyps.items())}
    for name, table in (("ref", refs), ("one", hyps), ("two", others)):
        (tmp_path / name).write_text(kaldi(table))
    return [str(tmp_path / name) for name in ("one", "two", "ref")]


def test_two_texts_are_compared(texts, capsys):
    one, two, ref = texts
    compare.main([one, two, "--ref", ref])
    out = capsys.readouterr().out
    assert out.startswith(f"A  {one}\nB  {two}\n\n")
    row = next(line for line in out.splitlines() if line.startswith("40  "))
    assert row.count("[") == 3
    assert "over 40 utterances, since there are fewer than 5 speakers" in out
    assert "least p of so many is < 0.001" in out and "by chance" not in out
    compare.main([one, two, "--ref", ref, "--json", "-"])
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["first"] > found["second"] and found["interval"]["low"] > 0
    assert found["p"] < 0.01 and found["segments"]["p"] < 0.01


def test_folders_are_compared_and_the_figures_kept(texts, tmp_path, capsys):
    one, two, _ = texts
    for name, hyp in (("a", one), ("b", two)):
        folder = tmp_path / name / "decode_a4/test"
        folder.mkdir(parents=True)
        sets.score_set(tmp_path / "ref", tmp_path / hyp, folder)
    compare.main([str(tmp_path / "a"), str(tmp_path / "b"), "--json", str(tmp_path / "x.json")])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test "))
    assert row.split()[:3] == ["test", "a4", "40"]
    found = json.loads((tmp_path / "x.json").read_text())["comparisons"]
    assert [(row["set"], row["scale"], row["utterances"]) for row in found] == [("test", "a4", 40)]


def test_wrong_arguments_are_one_line(texts, tmp_path, capsys):
    one, two, ref = texts
    for arguments, message in (
        ([one, two], "is a text: give its references with --ref"),
        ([str(tmp_path), two, "--ref", ref], "is a folder: --ref is for two texts"),
    ):
        with pytest.raises(SystemExit) as error:
            compare.main(arguments)
        assert error.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"there is no .*three"):
        compare.main([one, str(tmp_path / "three"), "--ref", ref])
