import subprocess
import sys
from pathlib import Path

import pytest

from mome import __version__
from mome.bin import Parser, main, run

VERBS = main.verbs()
MOME = Path(sys.executable).parent / "mome"


def start(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_the_list_names_every_command(capsys):
    main.main([])
    text = capsys.readouterr().out
    assert {"train", "decode", "score", "synthesise"} <= VERBS.keys()
    assert all(f"  {verb} " in text for verb in VERBS)


def test_an_unknown_command_suggests_the_near_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["decoed"])
    assert capsys.readouterr().err == (
        "mome: error: no command called 'decoed'; did you mean decode? (mome lists them)\n"
    )


def test_it_says_its_version(capsys):
    main.main(["--version"])
    assert capsys.readouterr().out == f"mome {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help_that_says_how_it_was_started(verb):
    done = start(MOME, verb, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: mome {verb} ")


def test_a_command_that_is_started_as_a_module_says_so():
    done = start(sys.executable, "-m", "mome.bin.config", "--help")
    assert done.stdout.startswith("usage: python -m mome.bin.config ")


@pytest.mark.parametrize("command", [[MOME, "config"], [sys.executable, "-m", "mome.bin.config"]])
def test_an_error_is_one_line_that_begins_with_the_command(command):
    done = start(*command, "none.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("mome config: error: no configuration none.yaml")
    done = start(*command, "--gett", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("mome config: error: no option --gett; did you mean --get?")
    assert done.stderr.count("\n") == 1


def test_processes_of_a_training_run_leave_their_error_to_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("MOME_ERROR_FILE", str(tmp_path / "errors"))
    for _ in range(2):
        done = start(MOME, "config", "none.yaml")
        assert (done.returncode, done.stderr) == (1, "")
    lines = (tmp_path / "errors").read_text().splitlines()
    assert len(lines) == 2 and lines[0].startswith("mome config: error: no configuration")


def test_a_process_that_lost_its_partner_leaves_the_word_to_it(tmp_path, monkeypatch):
    def lost() -> None:
        raise RuntimeError("connection closed by peer")

    monkeypatch.setattr("mome.bin.start_logging", lambda: None)  # it would replace pytest's
    monkeypatch.setenv("MOME_ERROR_FILE", str(tmp_path / "errors"))
    with pytest.raises(RuntimeError):  # nobody has said why: it is a fault of the program
        run(lost)
    (tmp_path / "errors").write_text("mome train: error: the disk is full\n")
    with pytest.raises(SystemExit) as end:
        run(lost)
    assert end.value.code == 1
    monkeypatch.delenv("MOME_ERROR_FILE")
    with pytest.raises(RuntimeError):
        run(lost)


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
