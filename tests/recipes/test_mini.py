"""The mini recipe as a user runs it: options, and all stages at the smallest size."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from mome.scoring import sclite, sets

RECIPE = Path(__file__).parents[2] / "egs/mini/avsr1"
SETS = ["test", "test_babble_5", "test_babble_0", "test_babble_-5"]
SCALES = ["a4_v2", "a4_v5", "a16_v2", "a16_v5"]


def run(*options: str, **more) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "MOME_ENV": "none",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.run(
        ["avsr1/run.sh", *options],  # from another folder, as a user may
        cwd=RECIPE.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stge", "3"], "no setting called '--stge'; did you mean --stage?"),
        (["--stop-stge", "3"], "no setting called '--stop-stge'; did you mean --stop_stage?"),
        (["--home", "x"], "no setting called '--home'"),
        (["3"], "'3' is not an option"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "--stop-stage", "5"], "--stage needs a value"),
        (["--train_config", "conf/none.yaml"], "no configuration conf/none.yaml; there are:"),
    ],
)
def test_a_wrong_option_ends_with_status_2_and_is_named(options, message):
    done = run(*options, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr


def test_help_lists_the_settings():
    done = run("--help", timeout=60)
    assert done.returncode == 0
    for name in ("stage", "stop_stage", "train_config", "ngpu", "layout", "video_checks"):
        assert f"--{name} " in done.stdout


def test_a_dry_run_says_what_would_be_trained_for_each_of_a_list(tmp_path):
    (tmp_path / "list.txt").write_text(
        "# two experiments\none model.expert_dim=6\n\ntwo model.adapter=lora model.lora_rank=4\n"
    )
    done = run("--tuning", str(tmp_path / "list.txt"), "--dry-run", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "expert_dim: 6" in done.stdout and "adapter: lora" in done.stdout
    lora = 30 * 4 * (576 + 576 + 576 + 192)
    assert f"active{lora:>20,}" in done.stdout
    done = run("--tuning", "none.txt", timeout=60)
    assert done.returncode == 2
    assert "no list none.txt; there are:" in done.stderr


def test_nano_runs_through_all_stages_and_a_second_run_redoes_nothing(tmp_path):
    options = ["--train-config", "conf/train_nano.yaml", "--work_dir", str(tmp_path)]
    done = run(*options, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]

    for name in ("train", "valid", *SETS):
        for table in ("wav.scp", "video.scp", "text", "utt2spk", "spk2utt", "utt2dur"):
            assert (tmp_path / "data" / name / table).stat().st_size
        for table in ("audio.scp", "video.scp", "text", "utt2num_frames"):
            assert (tmp_path / "dump/feats" / name / table).stat().st_size
    threads = max(1, len(os.sched_getaffinity(0)) // 2)  # all cores are used
    assert f"2 process(es) of {threads} thread(s)" in done.stderr
    assert "\r" not in done.stdout + done.stderr  # bars are for terminals
    exp = tmp_path / "exp/train_nano"
    for part in ("config.yaml", "train.log", "tensorboard", "checkpoints", "best"):
        assert (exp / part).exists()
    assert (exp / "config.yaml").read_text().startswith("# the LLM is in torch.")
    for scale in SCALES:
        checks = ["test_babble_0_other_video"] if scale in (SCALES[0], SCALES[-1]) else []
        assert checks or not (exp / f"decode_{scale}" / "test_babble_0_other_video").exists()
        for name in [*SETS, *checks]:
            score = exp / f"decode_{scale}" / name / "score_wer"
            assert {p.name for p in score.iterdir()} >= {"ref.trn", "hyp.trn", "result.txt"}
            if sclite.sctk_command("sclite"):
                counts = sclite.TOTALS.search((score / "sclite.txt").read_text())
                assert counts, score
                result = sets.read_aligned(score, "sclite")
                assert [int(n) for n in counts.groups()] == [result.words, result.errors]
    command = f"\t./run.sh --train_config conf/train_nano.yaml --work_dir {tmp_path}\t"
    assert (exp / "stages.tsv").read_text().count(command) == 6
    results = (tmp_path / "RESULTS.md").read_text()
    assert "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|" in results.replace(" ", "")
    assert "decode_a16_v5/test_babble_-5" in results and len(results.splitlines()) <= 120
    assert "[INFO]" not in done.stdout + done.stderr  # the launcher's lines are in its log
    assert "[INFO] [launch.py" in (tmp_path / "dump/logs/launcher_train_nano.log").read_text()
    assert "RESULTS.md" in done.stdout.splitlines()[-1] + done.stdout.splitlines()[-2]

    def made() -> dict[Path, int]:
        files = [p for p in tmp_path.rglob("*") if p.is_file()]
        written_each_time = {"RESULTS.md", "stages.tsv", "launcher_train_nano.log", ".lock"}
        return {
            p: p.stat().st_mtime_ns
            for p in files
            if p.name not in written_each_time and not {"report", "figures"} & {*p.parts}
        }

    before = made()
    done = run(*options, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {p for p in before if made().get(p) != before[p]} == set()

    done = run(*options, "--stage", "4", "--stop-stage", "4", timeout=300)
    assert done.returncode == 0
    done = run(*options, "--stage", "3", "--train_args", "train.rl=1", timeout=300)
    assert done.returncode != 0
    assert "no setting called train.rl" in done.stderr + done.stdout

    # The same with the encoders in the training loop: the set's features are not read.
    shutil.rmtree(tmp_path / "dump/feats/train")
    online = "encoders.features=online train.num_steps=2 train.ctc_warmup.num_steps=2"
    more = ["--stage", "2", "--stop_stage", "3", "--tag", "online", "--train_args", online]
    done = run(*options, *more, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "dump/feats/train").exists()
    assert (tmp_path / "exp/online/best/model.safetensors").exists()

    # And with the video encoder trained along: no features at all.
    shutil.rmtree(tmp_path / "dump/feats")
    online += " encoders.video_lora_rank=2 model.task=vsr train.ctc_warmup.num_steps=0"
    more = ["--stage", "2", "--stop_stage", "4", "--tag", "lora", "--train_args", online]
    more += ["--test_snrs", "", "--video_checks", "test", "--decode_scales", "v2"]
    done = run(*options, *more, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "dump/feats").exists()
    names = safe_open(tmp_path / "exp/lora/best/model.safetensors", "pt").keys()
    assert any(name.startswith("video_lora.") for name in names)
    for name in ("test", "test_zeroed_video", "test_other_video"):
        assert (tmp_path / "exp/lora/decode_v2" / name / "text").stat().st_size
