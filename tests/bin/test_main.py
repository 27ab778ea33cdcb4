import subprocess
import sys
from pathlib import Path

import pytest

from mome.bin import main

VERBS = main.verbs()


def test_the_list_names_every_command(capsys):
    main.main([])
    text = capsys.readouterr().out
    assert {"train", "decode", "score", "synthesise"} <= VERBS.keys()
    assert all(f"  {verb} " in text for verb in VERBS)


def test_an_unknown_command_suggests_the_near_one():
    with pytest.raises(SystemExit, match=r"no command called 'decoed'; did you mean decode\?"):
        main.main(["decoed"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help(verb):
    mome = Path(sys.executable).parent / "mome"
    done = subprocess.run([mome, verb, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
