import subprocess
import sys
from pathlib import Path

import pytest

from mome.bin import Parser, main

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


def test_options_take_dashes_and_a_misspelt_one_suggests_the_near_one(capsys):
    parser = Parser("What it does.\n\nShape key\n    B  batch")
    parser.add_argument("--num_jobs", type=int, default=2, help="processes")
    parser.add_argument("--name")
    args = parser.parse_args(["--num-jobs", "3", "--name=a-b"])
    assert (args.num_jobs, args.name) == (3, "a-b")
    with pytest.raises(SystemExit):
        parser.parse_args(["--num_job", "3"])
    assert "no option --num_job; did you mean --num_jobs?" in capsys.readouterr().err
    text = parser.format_help()
    assert "What it does." in text and "(default: 2)" in text and "Shape key" not in text
