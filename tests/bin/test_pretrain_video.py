"""Pretraining a small video encoder: it learns, repeats bit for bit, and checks its inputs."""

import json
import logging

import numpy as np
import pytest
import torch

from mome.avhubert import AVHuBERT
from mome.bin.pretrain_video import main
from mome.data import crops, datadir
from mome.data.datadir import DataDir

SIZE = {
    "dim": 16, "ffn_dim": 32, "num_layers": 1, "num_heads": 2, "position_kernel": 4,
    "position_groups": 2, "frontend_dim": 4, "frontend_stride": 4, "resnet_dims": [4, 8],
    "resnet_blocks": [1, 1], "audio_dim": 0,
}  # fmt: skip


def write_set(folder, name, speakers, seed):
    """Clips whose brightness shows the phone: dark for /m/, bright for /A:/."""
    rng = np.random.default_rng(seed)
    tables = {key: {} for key in ("wav", "video", "text", "utt2spk", "utt2dur", "phones")}
    mouths = folder / f"mouths/{name}"
    mouths.mkdir(parents=True)
    scp = []
    for speaker in speakers:
        for clip in range(3):
            utterance = f"{speaker}-0000{clip}"
            turns = rng.permuted([0, 1] * 4)  # 3 images each
            phones = folder / f"{name}-{utterance}.phones"
            lines = [f"{('m', 'A:')[x]} {i * 0.12} {(i + 1) * 0.12}" for i, x in enumerate(turns)]
            phones.write_text("\n".join(lines) + "\n")
            light = np.repeat(np.where(turns, 200, 60), 3)[:, None, None]
            noise = rng.integers(0, 20, (24, 96, 96))
            crops.write(mouths / f"{utterance}.mouth", (light + noise).astype(np.uint8))
            scp.append(f"{utterance} {mouths / f'{utterance}.mouth'}\n")
            row = ("x.wav", "x.mp4", "ma", speaker, 0.96, str(phones))
            for table, value in zip(tables, row, strict=True):
                tables[table][utterance] = value
    (mouths / "mouths.scp").write_text("".join(sorted(scp)))
    datadir.write(folder / f"data/{name}", DataDir(**tables))


@pytest.fixture
def corpus(tmp_path):
    write_set(tmp_path, "train", ["ann", "bob"], seed=0)
    write_set(tmp_path, "valid", ["cid"], seed=1)
    (tmp_path / "size.json").write_text(json.dumps(SIZE))
    return tmp_path


def pretrain(corpus, *options, train="train", valid="valid", out="out"):
    sets = [str(corpus / kind / name) for name in (train, valid) for kind in ("data", "mouths")]
    size = ["--config", str(corpus / "size.json"), "--num_jobs", "1"]
    main([*sets, str(corpus / out), *size, "--batch_frames", "72", *options])
    return corpus / out


def test_it_learns_phones_of_unseen_speakers_and_leaves_an_encoder(corpus, caplog):
    caplog.set_level(logging.INFO)
    out = pretrain(corpus, "--num_steps", "80", "--learning_rate", "0.01")
    share = float(caplog.text.split(" % of the phones")[0].split()[-1])
    assert share > 80
    encoder = AVHuBERT.from_folder(out)
    assert encoder(torch.zeros(1, 1, 5, 88, 88)).shape == (1, 5, 16)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(corpus):
    a = pretrain(corpus, "--num_steps", "3", out="a")
    b = pretrain(corpus, "--num_steps", "3", out="b")
    c = pretrain(corpus, "--num_steps", "3", "--seed", "2", out="c")
    weights = [(x / "model.safetensors").read_bytes() for x in (a, b, c)]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.slow
def test_two_processes_repeat_bit_for_bit_and_report_their_errors(corpus):
    two = ["--num_steps", "3", "--num_jobs", "2"]
    a, b = pretrain(corpus, *two, out="a"), pretrain(corpus, *two, out="b")
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    (corpus / "train-bob-00000.phones").write_text("A: 0.0\n")
    with pytest.raises(ValueError, match="phone start end"):
        pretrain(corpus, *two, "--seed", "2")


def test_a_second_run_does_nothing(corpus):
    out = pretrain(corpus, "--num_steps", "2")
    before = (out / "model.safetensors").stat().st_mtime_ns
    pretrain(corpus, "--num_steps", "2")
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    pretrain(corpus, "--num_steps", "3")
    assert (out / "model.safetensors").stat().st_mtime_ns > before


def test_a_speaker_on_both_sides_is_refused(corpus):
    with pytest.raises(ValueError, match="speaker ann is in"):
        pretrain(corpus, "--num_steps", "2", valid="train")


def test_without_phone_times_it_says_who_has_them(corpus):
    (corpus / "data/train/phones").unlink()
    with pytest.raises(FileNotFoundError, match="phone times"):
        pretrain(corpus, "--num_steps", "2")
