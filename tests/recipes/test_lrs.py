"""The recipes of LRS3 and LRS2 as they are, on a small corpus that lies as theirs does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mome.bin import synthesise

EGS = Path(__file__).parents[2] / "egs"


def run(corpus: str, *options: str, timeout: int = 600) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [str(EGS / corpus / "avsr1/run.sh"), *options],
        env={**os.environ, "MOME_ENV": "none", "PATH": path, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


@pytest.mark.slow
@pytest.mark.parametrize("corpus, backend", [("lrs3", "local"), ("lrs2", "slurm")])
def test_it_runs_through_all_stages_on_a_corpus_that_lies_alike(
    corpus, backend, tmp_path, monkeypatch
):
    speakers = ["--train_speakers", "8", "--valid_speakers", "2", "--test_speakers", "2"]
    clips = ["--clips_per_speaker", "4", "--eval_clips_per_speaker", "2"]
    root = tmp_path / "corpus here"
    synthesise.main([str(root), "--layout", corpus, *speakers, *clips])
    options = ["--train-config", "conf/train_nano.yaml", f"--{corpus}", str(root)]
    options += ["--work_dir", str(tmp_path / "work"), "--nj", "2", "--test_snrs", "5 0"]
    options += ["--cmd-backend", backend, "--ngpu", "0"]
    if backend == "slurm":
        done = run(corpus, *options, "--allow_missing", "--stage", "1", "--stop-stage", "1")
        assert done.returncode != 0 and "needs sbatch" in done.stderr + done.stdout
        (tmp_path / "bin").mkdir()
        for name in ("sbatch", "srun", "scontrol"):
            (tmp_path / "bin" / name).symlink_to(Path(__file__).with_name("stand_ins.py"))
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = run(corpus, *options)
    assert done.returncode == 1
    assert "the corpus is not whole: pretrain has" in done.stderr
    done = run(corpus, *options, "--allow_missing")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    results = (tmp_path / "work/RESULTS.md").read_text()
    assert "decode_a16_v5/test_babble_0" in results
    assert "test_babble_5" in done.stdout
    logs = list((tmp_path / "work/dump/logs").rglob("2.log"))
    assert len(logs) == (3 + 5 if backend == "slurm" else 0)  # crops of 3 sets, features of 5
    assert (tmp_path / "work/dump/logs/train_train_nano.log").exists() == (backend == "slurm")


@pytest.mark.parametrize("corpus", ["lrs3", "lrs2"])
def test_what_is_not_there_is_asked_for(corpus, tmp_path):
    done = run(corpus, "--stop-stage", "0", "--work_dir", str(tmp_path))
    assert done.returncode == 2
    assert f"--{corpus} is not set: give the folder of {corpus.upper()}" in done.stderr


@pytest.mark.parametrize("corpus", ["lrs3", "lrs2"])
def test_a_dry_run_counts_the_parameters(corpus):
    done = run(corpus, "--dry-run", "--train_config", "conf/train_mtsk_ss.yaml")
    assert done.returncode == 0, done.stderr
    assert {"lrs3": "(6.816M)", "lrs2": "(27.525M)"}[corpus] in done.stdout
