"""Wrong settings of a recipe: one line that names the setting, status 2, nothing written."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

EGS = Path(__file__).parents[2] / "egs"
MOST_SECONDS = 10  # about one on a machine without other work


def run(corpus: str, *options: str, **environment: str) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [str(EGS / corpus / "avsr1/run.sh"), *options],
        env={**os.environ, "MOME_ENV": "none", "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


WRONG = [
    (["--stage", "8"], "--stage '8': give a stage, 0 to 7"),
    (["--stage", "two"], "--stage 'two': give a stage, 0 to 7"),
    (["--stage", "-1"], "--stage '-1': give a stage, 0 to 7"),
    (["--stop-stage", "9"], "--stop_stage '9': give a stage, 0 to 7"),
    (["--stage", "6"], "--stage 6 comes after --stop_stage 5"),
    (["--stop_stage", "7"], "--hub_repo '': stage 7 needs a repository of the hub, OWNER/NAME"),
    (["--stop_stage", "7", "--hub_repo", "x"], "--hub_repo 'x': stage 7 needs a repository"),
    (["--include_base", "1"], "--include_base '1': give true or false"),
    (["--stage", "3", "--stop-stage", "1"], "--stage 3 comes after --stop_stage 1"),
    (["--nj", "two"], "--nj 'two': give a number of jobs, 1 or more, or auto"),
    (["--nj", "0"], "--nj '0': give a number of jobs, 1 or more, or auto"),
    (["--ngpu", "1.5"], "--ngpu '1.5': give a number of GPUs, 0 (the CPU) or more, or auto"),
    (["--cpu_procs", "0"], "--cpu_procs '0': give a number of processes, 1 or more"),
    (["--num_nodes", "x"], "--num_nodes 'x': give a number of machines, 1 or more"),
    (["--cmd_backend", "sge"], "--cmd_backend 'sge': give local or slurm"),
    (["--max_skipped", "1.5"], "--max_skipped '1.5': give a share of the clips, 0 to 1"),
    (["--max_skipped_test", "1%"], "--max_skipped_test '1%': give a share of the clips, 0 to 1"),
    (["--dry_run", "yes"], "--dry_run 'yes': give true or false"),
    (["--decode_model", "bestt"], "--decode_model 'bestt': give best, average or checkpoints/"),
    (["--decode_model", "checkpoints/7"], "--decode_model 'checkpoints/7': give best, average or"),
    (["--layout", "grid"], "--layout 'grid': give lrs3 or lrs2"),
    (["--size", "big"], "--size 'big': give mini or nano"),
    (["--landmarks", "mediapip"], "--landmarks 'mediapip': give one of mediapipe, mtcnn, centre"),
    (["--test_noise", "pinkk"], "--test_noise 'pinkk': the recipe makes babble, speech_shaped,"),
    (["--test_noise", "a/b", "--noise_dir", "/"], "--test_noise 'a/b': names of folders or files"),
    (["--noise_dir", "/none"], "--noise_dir '/none': no such folder"),
    (["--test_snrs", "5 0dB"], "--test_snrs '0dB': give numbers of dB, such as \"5 0 -2.5\""),
    (["--test_snrs", "nan"], "--test_snrs 'nan': give numbers of dB"),
    (["--test_snrs", "5"], "--video_checks 'test_babble_0_other_video': the test sets"),
    (["--video_checks", "tset"], "--video_checks 'tset': the test sets are test, test_babble_5,"),
    (["--decode_scales", "a4_v2 4_2"], "--decode_scales '4_2': a scale of task avsr is written"),
    (["--decode_scales", "a4"], "--decode_scales 'a4': a scale of task avsr is written like a4_v2"),
    (["--decode_args", "decode.num_beam=3"], "--decode_args: no setting called decode.num_beam;"),
    (["--train_args", "train.lr=fast"], "--train_args: train.lr must be a number, got 'fast'"),
    (["--train_args", "train.rl=1"], "--train_args: no setting called train.rl"),
    (["--train_args", "lr"], "--train_args: an override is section.key=value, got 'lr'"),
    (["--train_args", "model.llm='x"], "--train_args 'model.llm='x': a quote without its partner"),
    (["--train_args", "model.task=avrs"], "--train_args: model.task must be one of asr, vsr, avsr"),
    (["--train_args", "train.deepspeed=conf/x.json"], "train.deepspeed 'conf/x.json': no such"),
    (["--train_args", "encoders.noise=rain"], "encoders.noise must be one of babble,"),
    (["--train_args", "encoders.noise_dir=/none"], "encoders.noise_dir '/none': no such folder"),
    (["--train_args", "train.ctc_warmup.num_steps=0 train.ctc_warmup.start_from=exp/no"],
     "train.ctc_warmup.start_from 'exp/no': no such folder"),
    (["--train_args", "model.scale_weights.a8=2"], "model.scale_weights 'a8': a scale of task"),
    (["--launcher_args", '"'], "--launcher_args '\"': a quote without its partner"),
    (["--train_config", "conf/none.yaml"], "no configuration conf/none.yaml; there are: conf/"),
    (["--tuning", "none.txt"], "no list none.txt; there are: conf/tuning/"),
    (["--hostfile", "none"], "no hostfile none: a file with a line for each machine"),
]  # fmt: skip


@pytest.mark.parametrize("options, message", WRONG, ids=[" ".join(o) for o, _ in WRONG])
def test_a_wrong_setting_is_one_line_at_once_and_nothing_is_written(
    options, message, tmp_path, tell
):
    start = time.monotonic()
    work_dir = tmp_path / "work"
    done = run(
        "mini", "--train_config", "conf/train_nano.yaml", "--work_dir", str(work_dir), *options
    )
    assert done.returncode == 2, done.stderr
    line = tell(" ".join(options), done.stderr)
    assert done.stdout == ""
    assert line.startswith(f"{EGS}/mini/avsr1/run.sh: ") and message in line
    assert time.monotonic() - start < MOST_SECONDS
    assert not work_dir.exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("model:\n\ttask: asr\n", "train_x.yaml, line 2: this is not YAML: found character"),
        ("model: [\n", "train_x.yaml, line 2: this is not YAML: "),
        ("train:\n  lr: fast\n", "train_x.yaml, line 2: train.lr must be a number, got 'fast'"),
        ("train:\n  num_active: 2\n", "train_x.yaml, line 2: no setting called train.num_active"),
        ("model:\n  num_active: 30\n", "train_x.yaml: model.num_active must be in 1..23"),
    ],
)
def test_a_wrong_train_config_is_one_line_with_its_place(text, message, tmp_path, tell):
    path = tmp_path / "train_x.yaml"
    path.write_text(text)
    done = run("mini", "--train_config", str(path), "--work_dir", str(tmp_path / "work"))
    assert done.returncode == 2
    assert message in tell(f"train config: {text.strip()}", done.stderr)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "line, message",
    [
        ("two train.lr=fast", ": two: train.lr must be a number, got 'fast'"),
        ("one train.lr=1", "two experiments are called one"),
    ],
)
def test_every_line_of_a_tuning_list_is_checked_before_the_first_one_runs(
    line, message, tmp_path, tell
):
    (tmp_path / "list.txt").write_text(f"# two\none train.seed=2\n{line}\n")
    done = run("mini", "--tuning", str(tmp_path / "list.txt"), "--work_dir", str(tmp_path / "work"))
    assert done.returncode == 2
    assert message in tell(f"tuning list: {line}", done.stderr)
    assert done.stdout == "" and not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "corpus, options, message",
    [
        ("lrs3", ["--hours", "100"], "--hours '100': give 433 (pretrain and trainval) or 30"),
        ("lrs2", ["--allow_missing", "maybe"], "--allow_missing 'maybe': give true or false"),
        ("lrs2", [], "--lrs2 is not set: give the folder of LRS2"),
        ("lrs3", ["--lrs3", "/", "--avhubert", "x.pt"], "--avhubert 'x.pt' does not exist: give a"),
        ("grid", ["--split", "seen"], "--split 'seen': give unseen or overlapped"),
        ("grid", ["--hours", "30"], "--hours '30': give 5, or 22 (unseen) or 19 (overlapped)"),
        ("grid", ["--allow_missing", "1"], "--allow_missing '1': give true or false"),
        ("grid", ["--grid", "/none"], "--grid '/none' does not exist: give the folder of GRID"),
        ("grid", ["--avhubert", "x.pt"], "--avhubert 'x.pt' does not exist: give a checkpoint"),
        ("grid", ["--stage", "8"], "--stage '8': give a stage, 0 to"),
    ],
)
def test_the_settings_of_a_corpus_are_checked_too(corpus, options, message, tmp_path, tell):
    done = run(corpus, *options, "--work_dir", str(tmp_path / "work"))
    assert done.returncode == 2
    assert message in tell(f"{corpus}: {' '.join(options)}", done.stderr)


def test_what_bash_can_check_is_checked_before_anything_is_installed(tmp_path):
    # Without MOME_ENV=none, path.sh runs tools/install.sh; with this PYTHON that would fail.
    done = run("mini", "--stage", "8", MOME_ENV="", PYTHON=str(tmp_path / "none"))
    assert done.returncode == 2 and "--stage '8'" in done.stderr
