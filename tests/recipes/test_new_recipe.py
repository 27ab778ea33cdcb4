"""A recipe made by `mome new_recipe` for a folder of clips, through all stages with baby models."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mome.bin import new_recipe, synthesise
from mome.corpora.text_file import read_text_file
from mome.data import datadir

EGS = Path(__file__).parents[2] / "egs"


@pytest.mark.slow
def test_a_folder_of_clips_becomes_a_table_of_error_rates(tmp_path):
    speakers = ["--train_speakers", "6", "--valid_speakers", "1", "--test_speakers", "1"]
    clips = ["--clips_per_speaker", "3", "--eval_clips_per_speaker", "2"]
    synthesise.main([str(tmp_path / "mini"), *speakers, *clips])
    root = tmp_path / "my own clips"
    for path in (tmp_path / "mini").rglob("*.mp4"):  # plain texts, and names with spaces
        folder = root / f"Speaker {path.parent.name}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"clip {path.name}")
        text = read_text_file(path.with_suffix(".txt")).text.capitalize()
        (folder / f"clip {path.stem}.txt").write_text(f"{text}.\n")
    os.mkfifo(root / "Speaker train000/pipe.mp4")
    shutil.copytree(EGS / "TEMPLATE", tmp_path / "egs/TEMPLATE", symlinks=True)
    new_recipe.main(["my_corpus", "--root", str(root), "--egs", str(tmp_path / "egs")])
    options = ["--train_config", "conf/train_nano.yaml", "--work_dir", str(tmp_path / "work")]
    options += [
        "--max_skipped",
        "0.1",
        "--max_skipped_test",
        "0.5",
        "--test_snrs",
        "0",
        "--nj",
        "2",
    ]
    done = subprocess.run(
        [tmp_path / "egs/my_corpus/avsr1/run.sh", *options],
        env={
            **os.environ,
            "MOME_ENV": "none",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(EGS.parent),
            "HF_HUB_OFFLINE": "1",
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    sets = {
        name: datadir.read(tmp_path / "work/data" / name) for name in ("train", "valid", "test")
    }
    assert sum(len(data.text) for data in sets.values()) == len([*root.rglob("clip *.mp4")])
    assert all(u.startswith("Speaker_") for data in sets.values() for u in data.utterances)
    skipped = [v for n in sets for v in datadir.read_skipped(tmp_path / "work/data" / n).values()]
    assert len(skipped) == 1 and "is a named pipe, not a file" in skipped[0]
    results = (tmp_path / "work/RESULTS.md").read_text()
    for scale in ("a4_v2", "a4_v5", "a16_v2", "a16_v5"):
        assert f"decode_{scale}/test_babble_0" in results
