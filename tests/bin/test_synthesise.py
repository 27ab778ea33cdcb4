import pytest

from mome.bin import synthesise
from mome.synthesis import corpus


@pytest.fixture
def calls(monkeypatch):
    """The arguments of each call that would make a corpus."""
    found = []
    monkeypatch.setattr(corpus, "synthesise", lambda *args: found.append(args))
    return found


def test_options_are_the_settings_of_the_corpus(calls, tmp_path):
    synthesise.main([str(tmp_path)])
    options = "--layout lrs2 --test-speakers 3 --eval_clips_per_speaker 5 --seed 7 --num_jobs 4"
    synthesise.main([str(tmp_path), *options.split()])
    changed = corpus.Settings("lrs2", test_speakers=3, eval_clips_per_speaker=5, seed=7)
    assert calls == [(tmp_path, corpus.Settings(), 2), (tmp_path, changed, 4)]


@pytest.mark.parametrize("option", ["--train_speakers 0", "--seed -1", "--num_jobs 0"])
def test_a_number_out_of_range_is_named(calls, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as error:
        synthesise.main([str(tmp_path), *option.split()])
    assert error.value.code == 2 and not calls
    assert f"{option.split()[0]} must" in capsys.readouterr().err
