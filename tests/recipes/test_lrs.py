"""The recipes of LRS3 and LRS2 as they are, on a small corpus that lies as theirs does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mome.bin import synthesise

EGS = Path(__file__).parents[2] / "egs"


def run(
    corpus: str, *options: str, timeout: int = 600, programs: Path | None = None
) -> subprocess.CompletedProcess:
    """A recipe; what lies in the folder `programs` goes before the programs of that name."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    path = f"{programs}:{path}" if programs else path
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
    decoding = tmp_path / "work/dump/logs/decode_train_nano/1.log"
    assert decoding.exists() == (backend == "slurm")


@pytest.fixture
def commands(tmp_path):
    """Runs stages of LRS3 without doing anything; returns the commands they would run.

    The features of the training set are stored, unless another train config is given.
    """
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "python").write_text(  # the check of the settings runs: the stages need its answers
        f"""#!/bin/sh
case "$*" in *mome.bin.check_settings*) exec {sys.executable} "$@" ;; esac
echo "$*" >> "{tmp_path}/commands"
printf '%s\\n' "$@" >> "{tmp_path}/words"
"""
    )
    (bin_dir / "sbatch").write_text(f'#!/bin/sh\necho "sbatch $*" >> "{tmp_path}/commands"\n')
    (bin_dir / "nvidia-smi").write_text("#!/bin/sh\necho GPU 0: H200\necho GPU 1: H200\n")
    for program in bin_dir.iterdir():
        program.chmod(0o755)

    def commands(*options: str, stages: tuple[int, int] = (1, 2)) -> list[str]:
        options += ("--stage", str(stages[0]), "--stop-stage", str(stages[1]))
        options += ("--work_dir", str(tmp_path / "work"))
        options = ("--train_config", "conf/train_mome_layer_offline.yaml", *options)
        done = run("lrs3", *options, programs=bin_dir, timeout=60)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "commands").read_text().splitlines()

    return commands


def noisy_sets(lines: list[str]) -> list[str]:
    found = [line.split()[2] for line in lines if "mome.bin.extract_features" in line]
    return [Path(folder).name for folder in found if Path(folder).name.startswith("test_")]


def test_a_test_set_for_each_noise_and_snr(commands, tmp_path):
    mine = tmp_path / "my noise"
    mine.mkdir()
    lines = commands("--noise_dir", str(mine), "--test_noise", "music free-sound")
    (line,) = [line for line in lines if "mome.bin.add_noise" in line]
    snrs = "12.5 10 7.5 5 2.5 0 -2.5 -5 -7.5"
    assert f"--noise music free-sound --snrs {snrs} " in line and f"--noise_dir {mine}" in line
    expected = [f"test_{noise}_{snr}" for noise in ("music", "free-sound") for snr in snrs.split()]
    assert noisy_sets(lines) == expected
    assert not [x for x in lines if "extract_features" in x and "--noise_dir" in x]  # of the tests


def test_noisy_sets_take_the_video_of_the_clean_one_which_is_made_before(commands):
    lines = commands("--test_snrs", "5 0", stages=(2, 2))
    found = [line.split() for line in lines if "mome.bin.extract_features" in line]
    order = [words[2] for words in found]
    first_noisy = order.index("data/test_babble_5")
    assert set(order[:first_noisy]) == {"data/train", "data/valid", "data/test"}
    taken = [words[words.index("--video_from") + 1] for words in found[first_noisy:]]
    assert taken == ["dump/feats/test"] * 2
    assert not any("--video_from" in words for words in found[:first_noisy])


def test_trained_as_in_the_paper_the_features_of_the_training_set_are_not_stored(commands):
    lines = commands("--train_config", "conf/train_mome_layer.yaml", "--test_noise", "")
    stored = [line.split() for line in lines if "mome.bin.extract_features" in line]
    assert [words[2] for words in stored] == ["data/valid", "data/test"]
    assert all("--pad_to_30s" in words for words in stored)


def test_sets_are_named_as_add_noise_names_them(commands):
    assert noisy_sets(commands("--test_snrs", "12.50 0.0 -7.5")) == [
        f"test_babble_{snr:g}" for snr in (12.5, 0, -7.5)
    ]


def test_without_test_noise_there_is_the_clean_set_alone(commands):
    lines = commands("--test_noise", "")
    assert noisy_sets(lines) == [] and not [x for x in lines if "add_noise" in x]


@pytest.mark.parametrize("given, jobs", [((), 2), (("--ngpu", "1"), 1), (("--ngpu", "8"), 2)])
def test_every_gpu_of_this_machine_decodes(commands, given, jobs):
    lines = commands("--test_snrs", "0", *given, stages=(4, 4))
    (line,) = [line for line in lines if "mome.bin.decode" in line]
    assert "--sets test test_babble_0 " in line and line.endswith(f"--num_jobs {jobs}")


@pytest.mark.parametrize("failing", ["train", "valid", "test_babble_5", "test_babble_0"])
def test_a_set_that_fails_ends_stage_2_also_where_sets_are_encoded_side_by_side(
    commands, tmp_path, failing
):
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\nexit 1\n")  # no GPU
    python = tmp_path / "bin/python"
    fails = f'case "$*" in *extract_features\\ data/{failing}\\ *) exit 3 ;; esac\n'
    python.write_text(python.read_text() + fails)
    options = ["--stage", "2", "--stop-stage", "3", "--work_dir", str(tmp_path / "work")]
    options += ["--train_config", "conf/train_mome_layer_offline.yaml"]
    done = run("lrs3", *options, "--test_snrs", "5 0", programs=tmp_path / "bin", timeout=60)
    assert done.returncode != 0
    lines = (tmp_path / "commands").read_text()
    assert f"extract_features data/{failing} " in lines
    assert "mome.bin.train" not in lines and "Stage 3" not in done.stdout


def test_the_gpus_that_a_user_has_chosen_are_those_that_run(commands, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    launcher = tmp_path / "bin/deepspeed"
    launcher.write_text(
        f'#!/bin/sh\necho "deepspeed $CUDA_VISIBLE_DEVICES $*" >> {tmp_path}/commands\n'
    )
    launcher.chmod(0o755)
    lines = commands("--test_snrs", "0", stages=(3, 4))
    (line,) = [line for line in lines if line.startswith("deepspeed")]
    assert line.startswith("deepspeed 5 ") and "--num_gpus" not in line  # it would take GPU 0
    (line,) = [line for line in lines if "mome.bin.decode" in line]
    assert line.endswith("--num_jobs 1")


def test_slurm_gives_a_gpu_to_each_job_that_encodes_or_decodes(commands):
    slurm = ("--cmd_backend", "slurm", "--num_nodes", "2", "--ngpu", "4", "--nj", "6")
    lines = commands(*slurm, "--test_snrs", "", "--video_checks", "test", stages=(1, 2))
    jobs = [line for line in lines if line.startswith("sbatch")]
    assert [" --gpus=1 " in job for job in jobs] == ["crop_mouths" not in job for job in jobs]
    assert len(jobs) == 3 + 3 and all(" --array=1-6 " in job for job in jobs)
    lines = commands(*slurm, "--test_snrs", "", "--video_checks", "test", stages=(4, 4))
    jobs = [x for x in lines if x.startswith("sbatch") and "mome.bin.decode" in x]
    (job,) = jobs
    assert " --array=1-8 " in job and " --gpus=1 " in job
    assert "--sets test test_zeroed_video test_other_video  --job $SLURM_ARRAY_TASK_ID/8" in job
    assert "decode_train_mome_layer_offline/%a.log" in job


def test_slurm_without_the_number_of_gpus_is_refused(commands, tmp_path):
    done = run("lrs3", "--cmd_backend", "slurm", "--stage", "4", programs=tmp_path / "bin")
    assert done.returncode == 2 and "give --ngpu, the GPUs of each (0: its CPU)" in done.stderr


@pytest.mark.parametrize("corpus", ["lrs3", "lrs2"])
def test_what_is_not_there_is_asked_for(corpus, tmp_path):
    done = run(corpus, "--stop-stage", "0", "--work_dir", str(tmp_path))
    assert done.returncode == 2
    assert f"--{corpus} is not set: give the folder of {corpus.upper()}" in done.stderr
    done = run(corpus, "--stop-stage", "0", f"--{corpus}", str(tmp_path / "none"))
    assert done.returncode == 2
    assert f"--{corpus} '{tmp_path}/none' does not exist: give the folder" in done.stderr


def test_a_path_with_a_space_reaches_the_encoders_as_one_word(commands, tmp_path):
    mine = tmp_path / "my noise"
    mine.mkdir()
    lines = commands("--train_args", f"train.lr=5e-4 encoders.noise_dir='{mine}'", stages=(2, 2))
    (line,) = [x for x in lines if "extract_features data/train" in x]
    assert f"--noise_dir {mine} " in line
    assert str(mine) in (tmp_path / "words").read_text().splitlines()


def test_no_more_jobs_start_than_a_set_has_clips(commands, tmp_path):
    for name, clips in (("train", 40), ("valid", 3), ("test", 1)):
        folder = tmp_path / "work/data" / name
        folder.mkdir(parents=True)
        (folder / "wav.scp").write_text("".join(f"u{k} x.wav\n" for k in range(clips)))
    lines = commands("--nj", "16", "--test_noise", "")
    for verb in ("crop_mouths", "extract_features"):
        jobs = [int(line.split()[-1]) for line in lines if verb in line]
        assert jobs == [16, 3, 1], verb


def test_auto_jobs_are_as_many_as_there_are_cores(commands):
    lines = commands(stages=(1, 1))
    cores = len(os.sched_getaffinity(0))
    assert [x.split()[-1] for x in lines if "crop_mouths" in x] == [str(cores)] * 3


def test_the_share_of_clips_that_may_be_left_out_is_given_to_the_commands(commands):
    lines = commands("--test_snrs", "0", "--max_skipped", "0.05", "--max_skipped_test", ".02")
    lines = [x for x in lines if "crop_mouths" in x or "extract_features" in x]
    assert len(lines) == 3 + 4
    assert all("--max_skipped 0.05 --max_skipped_test .02" in line for line in lines)


@pytest.mark.parametrize("corpus", ["lrs3", "lrs2"])
def test_a_dry_run_counts_the_parameters(corpus):
    done = run(corpus, "--dry-run", "--train_config", "conf/train_mtsk_ss.yaml")
    assert done.returncode == 0, done.stderr
    assert {"lrs3": "(6.816M)", "lrs2": "(27.525M)"}[corpus] in done.stdout


@pytest.mark.parametrize(
    "options, fetched, prepared",
    [
        (["--hours", "5"], True, "prepare_data grid downloads/grid data --hours 5 --media_paths"),
        (
            ["--grid", "/", "--split", "overlapped"],
            False,
            "prepare_data grid_overlapped / data --m",
        ),
    ],
)
def test_stage_0_of_grid_downloads_the_corpus_unless_it_is_given(
    commands, tmp_path, options, fetched, prepared
):
    options = [*options, "--stage", "0", "--stop_stage", "0", "--work_dir", str(tmp_path / "work")]
    done = run("grid", *options, programs=tmp_path / "bin", timeout=60)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "commands").read_text().splitlines()
    assert any("fetch_grid.py downloads/grid" in line for line in lines) == fetched
    (line,) = [line for line in lines if "prepare_data" in line]
    assert prepared in line and "--max_skipped_test 0.01" in line
    models = [line.split()[-1] for line in lines if "fetch_models.py" in line]
    assert models == ["llm", "whisper"] and "check_models" in lines[-1]


def test_a_dry_run_makes_no_folder(tmp_path):
    options = ["--train_config", "conf/train_mome_layer.yaml", "--work_dir", str(tmp_path / "new")]
    done = run("lrs3", *options, "--dry-run", timeout=60)
    assert done.returncode == 0 and "num_epochs" in done.stdout, done.stderr
    assert not (tmp_path / "new").exists()
