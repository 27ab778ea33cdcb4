import pytest
from conftest import REFERENCES, decoded_experiment

from mome.bin import report
from mome.scoring import sets


@pytest.fixture
def experiments(tmp_path):
    for tag, name in (("one", "test"), ("two", "test_babble_-5")):
        exp_dir = decoded_experiment(tmp_path, tag, {("a4", name): REFERENCES})
        sets.score_experiment(exp_dir, tmp_path / "data", "")
    return tmp_path / "exp"


@pytest.mark.parametrize("option", ["--compare_with", "--compare-with", "--beside"])
def test_an_experiment_is_reported_and_compared(experiments, capsys, option):
    results = experiments.parent / "RESULTS.md"
    report.main([str(experiments / "one"), option, str(experiments), "--results", str(results)])
    assert "\n| two | - | - | 0.0 [0.0, 0.0] |\n" in results.read_text()
    out = capsys.readouterr().out
    assert f"results  {results}" in out
    assert f"report   {experiments / 'one/report/index.html'}" in out
    assert "WER %   a4" in out and "two" not in out


def test_nothing_scored_is_an_error(tmp_path):
    (tmp_path / "exp/x").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="has no scores: run stages 4 and 5"):
        report.main([str(tmp_path / "exp/x")])
