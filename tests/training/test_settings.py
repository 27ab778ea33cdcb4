"""The settings of a recipe: what they may be, and how bash reads them."""

import subprocess
import sys
from pathlib import Path

import pytest

from mome.data import landmarks
from mome.training import settings
from mome.training.settings import assignments, check

RECIPE = Path(__file__).parents[2] / "egs/mini/avsr1"
SETTINGS = {
    "stage": "0",
    "stop_stage": "5",
    "train_config": str(RECIPE / "conf/train_nano.yaml"),
    "train_args": "",
    "tuning": "",
    "tag": "",
    "work_dir": ".",
    "landmarks": "centre",
    "test_noise": "babble pink",
    "test_snrs": "5.0 -2.50",
    "noise_dir": "",
    "decode_model": "best",
    "decode_scales": "",
    "decode_args": "",
    "video_checks": "",
    "launcher_args": "",
}


def checked(**changes: str) -> settings.Values:
    return check(SETTINGS | changes, RECIPE)


def test_test_sets_are_the_clean_one_and_each_noise_at_each_snr():
    found = checked(video_checks="test test_pink_5.0_other_video")
    assert found["noises"] == ["babble", "pink"]
    assert found["snrs"] == ["5", "-2.5"]
    names = ["babble_5", "babble_-2.5", "pink_5", "pink_-2.5"]
    assert found["test_sets"] == ["test", *(f"test_{name}" for name in names)]
    assert found["checked_sets"] == [
        *("test_zeroed_video", "test_other_video"),
        "test_pink_5_other_video",
    ]
    assert checked(test_noise="")["test_sets"] == ["test"]
    assert checked(test_snrs="")["test_sets"] == ["test"]


def test_lists_of_options_are_split_and_quoted_as_in_a_shell(tmp_path):
    found = checked(
        train_args=f"train.lr=5e-4 encoders.noise_dir='{tmp_path}' model.llm=\"my llm\"",
        launcher_args="--master_addr 10.0.0.1",
    )
    expected = ["train.lr=5e-4", f"encoders.noise_dir={tmp_path}", "model.llm=my llm"]
    assert found["train_overrides"] == expected
    assert found["launcher_options"] == ["--master_addr", "10.0.0.1"]
    assert found["config"]["model.llm"] == "my llm"
    assert found["config"]["encoders.snrs"] == "-5.0 0.0 5.0 10.0 15.0 20.0"


def test_bash_reads_the_assignments_back_whatever_is_in_them():
    strange = ["a b", "it's", '"$HOME"', "`date`", "", "new\nline", "*"]
    text = assignments({"words": strange, "one": "$(x)", "config": {"model.llm": "a 'b' $c"}})
    script = text + 'printf "%s\\0" "${words[@]}" "$one" "${config[model.llm]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == [*strange, "$(x)", "a 'b' $c"]


@pytest.mark.parametrize(
    "task, scales, wrong",
    [
        ("asr", "a4 a16", "v2"),
        ("vsr", "v2", "a4_v2"),
        ("avsr", "a4_v2 a8_v3", "a4"),
        ("all", "a4_v2 a4 v2", "a0"),
    ],
)
def test_scales_are_those_of_the_task_trained_or_not(task, scales, wrong, refused):
    train_args = f"model.task={task}"
    assert checked(train_args=train_args, decode_scales=scales)["scales"] == scales.split()
    with refused(
        f"scale {wrong} of task {task}", f"--decode_scales '{wrong}': a scale of task {task}"
    ):
        checked(train_args=train_args, decode_scales=wrong)


def test_decoding_alone_asks_the_experiment_what_it_has(tmp_path, refused):
    exp = tmp_path / "exp/x"
    (exp / "checkpoints/step_20").mkdir(parents=True)
    (exp / "checkpoints/step_3").mkdir()
    (exp / "best").mkdir()
    (exp / "config.yaml").write_text("model: {task: asr}\n")
    more = {"stage": "4", "work_dir": str(tmp_path), "tag": "x"}
    assert checked(**more, decode_scales="a4")["scales"] == ["a4"]
    assert checked(**more, decode_model="average")
    with refused("no such model", r"best, average, checkpoints/step_3, checkpoints/step_20"):
        checked(**more, decode_model="checkpoints/step_4")


def test_what_a_later_stage_needs_is_asked_for_only_when_it_runs(refused):
    start = "train.ctc_warmup.num_steps=0 train.ctc_warmup.start_from=exp/none"
    with refused("no such folder", "start_from 'exp/none': no such folder"):
        checked(train_args=start)
    checked(train_args=start, stop_stage="2")
    checked(train_args=start, stage="4")
    with refused(
        "no such way to find mouths", "--landmarks 'x': give one of mediapipe, mtcnn, centre"
    ):
        checked(landmarks="x")
    checked(landmarks="x", stage="2")


def test_a_backend_that_is_not_installed_is_named_with_the_command(monkeypatch, refused):
    gone = landmarks.BACKENDS["mtcnn"]._replace(modules=("no_such_module",), install="pip x")
    monkeypatch.setitem(landmarks.BACKENDS, "mtcnn", gone)
    with refused(
        "a package that is missing", "mtcnn need no_such_module, which is missing: run pip x"
    ):
        checked(landmarks="mtcnn")


def test_a_deepspeed_file_that_is_not_json_is_refused(tmp_path, refused):
    (tmp_path / "zero.json").write_text("{")
    with refused("a DeepSpeed file that is not JSON", r"zero\.json, line 1: this is not JSON"):
        checked(train_args="train.deepspeed=zero.json", work_dir=str(tmp_path))


def test_nothing_heavy_is_imported():
    code = "import sys, mome.bin.check_settings; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "transformers", "deepspeed", "cv2", "av", "scipy", "espnet2"}
