"""Packed models: they go anywhere, give the same texts, hold no pickle, and refuse what changed."""

import json
import logging
import shutil
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from baby_recogniser import make_experiment
from safetensors.torch import load_file, save_file

import mome
from mome import checkpoint
from mome.bin import pack, upload
from mome.data import SAMPLE_RATE, audio
from mome.transcription import cascade

SOUND = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An experiment, and packed/ with all that it needs; what it was made from is gone."""
    root = tmp_path_factory.mktemp("work")
    exp_dir = make_experiment(root)
    score = {"words": 10, "substitutions": 1, "deletions": 0, "insertions": 0}
    audio.write(root / "a.wav", SOUND)
    loaded = mome.load_model(exp_dir, "cpu")
    text = mome.transcribe(loaded, root / "a.wav").text
    scales = cascade.Cascade.parse("a16_v5,a4_v2").scales
    cascade.write(exp_dir / "best", cascade.Cascade(scales, -0.5), {})
    pack.main([str(exp_dir), str(root / "slim")])
    pack.main([str(exp_dir), str(root / "packed"), "--include_base"])
    (root / "downloads").rename(root / "elsewhere")
    return SimpleNamespace(root=root, exp_dir=exp_dir, text=text, score=score)


def test_a_packed_model_works_wherever_it_is(work, tmp_path, monkeypatch):
    moved = tmp_path / "moved model"
    shutil.copytree(work.root / "packed", moved)
    monkeypatch.chdir(tmp_path)
    found = mome.load_model(moved, "cpu")
    assert mome.transcribe(found, work.root / "a.wav").text == work.text
    assert found.config.model.llm == str(moved / "llm") and found.most_s == 4
    scales = cascade.Cascade.parse("a16_v5,a4_v2")
    assert cascade.read(found.dir, scales)[0].threshold == -0.5
    suffixes = {path.suffix for path in moved.rglob("*") if path.is_file() and path.suffix}
    assert suffixes <= {".safetensors", ".json", ".yaml", ".md", ".model"}


def test_without_the_llm_it_is_found_by_its_hash_in_a_folder_that_is_named(work, tmp_path, refused):
    assert not (work.root / "slim/llm").exists() and (work.root / "slim/audio_encoder").exists()
    slim = tmp_path / "slim"
    shutil.copytree(work.root / "slim", slim)
    with refused(
        "the LLM is gone",
        "needs its LLM: the LLM downloads/baby-llm is no folder here",
        FileNotFoundError,
    ) as error:
        mome.load_model(slim, "cpu")
    assert "\n" not in str(error.value)
    shutil.copytree(work.root / "elsewhere/baby-llm", tmp_path / "another name")
    for base in (work.root / "elsewhere", tmp_path / "another name"):
        found = mome.load_model(slim, "cpu", [base])
        assert mome.transcribe(found, work.root / "a.wav").text == work.text


def test_an_experiment_that_moved_finds_its_encoders_by_hash(work, tmp_path, refused):
    shutil.copytree(work.exp_dir, tmp_path / "exp")
    other = tmp_path / "bases"
    shutil.copytree(work.root / "elsewhere", other)
    assert mome.load_model(tmp_path / "exp", "cpu", [other]).config.encoders.audio == str(
        other / "baby-whisper"
    )
    path = other / "baby-whisper/model.safetensors"
    weights = load_file(path)
    name = next(n for n in weights if "encoder.layers" in n and weights[n].ndim == 2)
    weights[name][3, 3] += 1
    save_file(weights, path, metadata={"format": "pt"})
    with refused("another audio encoder", "was trained with another audio encoder: sha256"):
        mome.load_model(tmp_path / "exp", "cpu", [other])


def change_config(folder, text, new):
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(text, new))


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: flip_bit(d / checkpoint.FILE), "is damaged, or the file of another model"),
        (lambda d: flip_bit(d / "llm/model.safetensors"), "was trained on another LLM"),
        (lambda d: flip_bit(d / "video_encoder/model.safetensors"), "another video encoder"),
        (
            lambda d: change_config(d, "num_active: 2", "num_active: 1"),
            "model.num_active is 1, but",
        ),
        (
            lambda d: change_config(d, "pad_to_30s: false", "pad_to_30s: true"),
            "encoders.pad_to_30s",
        ),
        (lambda d: (d / "base.json").unlink(), "base.json is missing"),
        (lambda d: (d / "base.json").write_text("{"), "base.json is damaged"),
        (lambda d: (d / checkpoint.FILE).unlink(), "has no model best|is missing|is no trained"),
    ],
)
def test_what_is_not_as_it_was_trained_is_refused_in_one_line(
    work, tmp_path, change, message, refused
):
    shutil.copytree(work.root / "packed", tmp_path / "m")
    change(tmp_path / "m")
    with refused(f"a changed model: {message}", message, (ValueError, FileNotFoundError)) as error:
        mome.load_model(tmp_path / "m", "cpu")
    assert "\n" not in str(error.value)


def test_another_tokenizer_is_refused(work, tmp_path, refused):
    shutil.copytree(work.root / "packed", tmp_path / "m")
    path = tmp_path / "m/tokenizer/tokenizer.json"
    found = json.loads(path.read_text())
    found["model"]["vocab"][10][0], found["model"]["vocab"][11][0] = "x", "y"
    path.write_text(json.dumps(found))
    with refused("another tokenizer", "was trained with another tokenizer"):
        mome.load_model(tmp_path / "m", "cpu")


def test_packing_again_does_nothing_and_never_replaces_something_else(
    work, tmp_path, caplog, refused
):
    with caplog.at_level(logging.INFO):
        pack.main([str(work.root / "packed"), str(tmp_path / "again"), "--include_base"])
        pack.main([str(work.root / "packed"), str(tmp_path / "again"), "--include_base"])
    assert "again is up to date" in caplog.text
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("")
    with refused("a folder that is no model", "mine holds something else than a model"):
        pack.main([str(work.root / "packed"), str(tmp_path / "mine")])


def test_the_card_names_scales_parts_and_scores(work):
    card = (work.root / "packed/README.md").read_text()
    assert card.startswith("---\nlibrary_name: mome\n") and "It was not scored." in card
    assert "scales a4_v2, a4_v5, a16_v2, a16_v5" in card and "downloads/baby-llm" in card


class FakeHub:
    """What the hub's client is asked for; it cannot be tried here."""

    def __init__(self):
        self.calls = []

    def create_repo(self, repo, **options):
        self.calls.append((repo, options))

    def upload_folder(self, **options):
        self.calls.append(options)
        return "https://hub/me/model"


def test_a_packed_model_is_uploaded_and_comes_back_by_its_id(work, monkeypatch):
    hub = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    upload.main([str(work.root / "packed"), "me/model", "--private"])
    assert hub.calls[0] == ("me/model", {"private": True, "exist_ok": True})
    assert hub.calls[1]["folder_path"] == work.root / "packed"
    with pytest.raises(FileNotFoundError, match="a trained model is a folder with"):
        upload.main([str(work.root), "me/model"])

    asked = []

    def download(name, **options):
        asked.append((name, options))
        return str(work.root / "packed")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = mome.load_model("me/model", "cpu")
    assert mome.transcribe(found, work.root / "a.wav").text == work.text
    ((name, options),) = asked
    assert name == "me/model" and not any(
        "bin" in p or "pt" in p for p in options["allow_patterns"]
    )
