"""Shared by the tests: baby models and batches for them, a baby recipe, clips, texts to score."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import pytest_addoption, pytest_terminal_summary, refused, tell  # noqa: F401
from transformers import LlamaConfig, LlamaForCausalLM

from mome import checkpoint
from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.config import ModelConfig
from mome.data import SAMPLE_RATE, VIDEO_FPS, ark, audio, crops, datadir, extraction
from mome.experts import MoME
from mome.inject import adapters
from mome.lora import LoRA
from mome.model import MoMEModel
from mome.synthesis import baby_models


class WordTokenizer:
    """One id per word: the little of a tokenizer that the model and the decoder use."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, add_special_tokens: bool = True):
        ids = [3 + sum(map(ord, word)) % 29 for word in text.split()]
        return type("Encoding", (), {"input_ids": ids})

    def batch_decode(self, rows, skip_special_tokens: bool = True) -> list[str]:
        return [" ".join(f"w{int(i)}" for i in row if i > 2) for row in rows]


def baby_llm(layers: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    torch.nn.init.zeros_(llm.lm_head.weight[2])  # a random LLM should not end at once
    return llm.eval()


def baby_model(wake: bool = True, frame_dims: dict | None = None, **config) -> MoMEModel:
    """A model over a baby LLM; `wake` makes its experts do something, which fresh ones do not."""
    settings = {"llm": "baby", "projector_dim": 12, "num_routed": 5, "num_active": 2}
    cfg = ModelConfig(**{**settings, "expert_dim": 3, **config})
    dims = frame_dims or {"audio": 8, "video": 6}
    model = MoMEModel(cfg, baby_llm(), WordTokenizer(), dims)
    if wake:
        for adapter in adapters(model.llm):
            for weight in last_weights(adapter):
                with torch.no_grad():  # drawn row by row, however the weight lies in memory
                    weight.copy_(torch.empty(weight.shape).normal_(std=0.3))
    return model.eval()


def last_weights(adapter) -> list[torch.Tensor]:
    """What a fresh adapter has at zero."""
    if isinstance(adapter, MoME):
        return [adapter.up, adapter.up_bias]
    return [adapter.b_POK] if isinstance(adapter, LoRA) else list(adapter.up.parameters())


def random_batch(lengths=((50, 25), (37, 19), (40, 20)), text=(6, 3, 4), seed=0) -> dict:
    """A padded batch; what stands in the padding is noise, which must not matter."""
    g = torch.Generator().manual_seed(seed)
    B = len(lengths)
    audio, video = max(a for a, _ in lengths), max(v for _, v in lengths)
    return {
        "utterances": [f"s{b}-0000{b}" for b in range(B)],
        "audio": torch.randn(B, audio, 8, generator=g),
        "audio_lengths": torch.tensor([a for a, _ in lengths]),
        "video": torch.randn(B, video, 6, generator=g),
        "video_lengths": torch.tensor([v for _, v in lengths]),
        "text": torch.randint(3, 32, (B, max(text)), generator=g),
        "text_lengths": torch.tensor(list(text)),
    }


def row(batch: dict, b: int) -> dict:
    """One utterance of a batch, without its padding."""
    alone = {"utterances": batch["utterances"][b : b + 1]}
    for name in ("audio", "video", "text"):
        n = int(batch[f"{name}_lengths"][b])
        alone[name] = batch[name][b : b + 1, :n]
        alone[f"{name}_lengths"] = torch.tensor([n])
    return alone


@pytest.fixture(scope="session")
def talking_faces() -> list[np.ndarray]:
    """Clips (12, H, W, 3) of two drawn faces, seeds 1 and 2, whose mouths open in the middle."""
    from mome.synthesis.face import Face
    from mome.synthesis.visemes import Mouth

    track = np.array([Mouth()] * 4 + [Mouth(jaw=1, open=1)] * 4 + [Mouth()] * 4)
    return [Face([seed]).film(track, [seed])[0] for seed in (1, 2)]


WORDS = """the boat found my river and we liked his old market today before""".split()  # noqa: SIM905

CONFIG = """
model: {llm: baby/baby-llm, llm_dtype: bfloat16, attention: eager,
        projector_dim: 8, projector_norm: true, num_routed: 5, num_active: 2, expert_dim: 3}
train: {num_steps: 12, lr: 1e-2, lr_warmup_steps: 2, max_frames: 120, accumulation: 2,
        scales_per_step: 1, audio_dropout: 0.3, valid_every: 4, save_every: 4,
        keep_checkpoints: 2, deepspeed: zero0.json,
        ctc_warmup: {num_steps: 5, batch_size: 4, weight: 0.2}}
"""


def baby_recipe(root: Path) -> Path:
    """A folder with a baby LLM, features of a few utterances in dump/feats, and train.yaml."""
    rng = np.random.default_rng(0)
    for name, size in (("train", 20), ("valid", 4)):
        feats = root / "dump/feats" / name
        feats.mkdir(parents=True)
        utterances = [f"s{k % 3}-{k:05d}" for k in range(size)]
        utterances.sort()
        lengths = {u: int(rng.integers(20, 40)) for u in utterances}
        for stream, dim, factor in (("audio", 6, 2), ("audio_noisy1", 6, 2), ("video", 5, 1)):
            items = [(u, rng.normal(size=(factor * n, dim))) for u, n in lengths.items()]
            ark.write_ark(feats / f"{stream}.scp", [(u, x.astype(np.float32)) for u, x in items])
        for table, factor in (("utt2num_frames", 2), ("utt2num_video_frames", 1)):
            lines = [f"{u} {factor * n}\n" for u, n in lengths.items()]
            (feats / table).write_text("".join(lines))
        texts = [" ".join(rng.choice(WORDS, 5)) for _ in utterances]
        pairs = zip(utterances, texts, strict=True)
        (feats / "text").write_text("".join(f"{u} {t}\n" for u, t in pairs))
        (feats / "feats.json").write_text(json.dumps({"audio_encoder": "random"}))
    baby_models.make_all(root / "dump/feats/train/text", root / "baby")
    (root / "train.yaml").write_text(CONFIG)
    for stage in range(4):
        text = json.dumps({"zero_optimization": {"stage": stage}})
        (root / f"zero{stage}.json").write_text(text)
    return root


CLIPS = {"ann-00001": 9, "ann-00002": 14, "bob-00001": 11, "cid-00001": 8, "cid-00002": 10}


@pytest.fixture(scope="session")
def encoder_dirs(tmp_path_factory) -> dict[str, str]:
    """The folders of a small Whisper and a small AV-HuBERT, by stream."""
    folder = tmp_path_factory.mktemp("encoders")
    baby_models.make_whisper(folder / "whisper")
    torch.manual_seed(0)
    AVHuBERT(
        AVHuBERTConfig(
            dim=16, ffn_dim=32, num_layers=1, num_heads=2, position_kernel=4, position_groups=2,
            frontend_dim=4, frontend_stride=4, resnet_dims=(4, 8), resnet_blocks=(1, 1),
            audio_dim=0,
        )
    ).save(folder / "video")  # fmt: skip
    return {"audio": str(folder / "whisper"), "video": str(folder / "video")}


@pytest.fixture
def clips_dir(tmp_path) -> Path:
    """A folder with the clips of `CLIPS`, in video frames: data/train, their sounds, mouths/."""
    rng = np.random.default_rng(0)
    wav, mouths = {}, {}
    for utterance, n in CLIPS.items():
        wav[utterance] = str(tmp_path / f"{utterance}.wav")
        samples = rng.standard_normal(n * SAMPLE_RATE // VIDEO_FPS)
        audio.write(wav[utterance], 0.1 * samples.astype(np.float32))
        mouths[utterance] = str(tmp_path / f"mouths/{utterance}.mouth")
        (tmp_path / "mouths").mkdir(exist_ok=True)
        mouth = np.zeros((n, 96, 96), np.uint8) + rng.integers(0, 255, (n, 1, 1), dtype=np.uint8)
        crops.write(mouths[utterance], mouth)
    data = datadir.DataDir(
        wav=wav,
        video=wav,
        text={u: f"words of {u.replace('-', ' ')}" for u in wav},
        utt2spk={u: u.split("-")[0] for u in wav},
        utt2dur={u: n / VIDEO_FPS for u, n in CLIPS.items()},
    )
    datadir.write(tmp_path / "data/train", data)
    ark.write_scp(tmp_path / "mouths/mouths.scp", mouths)
    return tmp_path


def extract(
    clips_dir: Path, encoder_dirs: dict, out="train", data="train", max_skipped=0.01, **options
) -> Path:
    """The features of a set of `clips_dir`, made by one job, in feats/<out>."""
    settings = extraction.Options(
        data_dir=clips_dir / "data" / data,
        mouths_dir=clips_dir / "mouths",
        feats_dir=clips_dir / "feats" / out,
        audio_encoder=encoder_dirs.get("audio"),
        video_encoder=encoder_dirs.get("video"),
        **options,
    )
    extraction.prepare(settings, 1)
    extraction.extract(settings, (1, 1), "cpu")
    extraction.merge(settings, 1, max_skipped)
    return settings.feats_dir


def metrics(exp_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (exp_dir / "metrics.jsonl").read_text().splitlines()]


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def assert_same_training(one: Path, other: Path) -> None:
    """Of two experiments: the same losses at each step, and the same weights at the end."""
    assert len(metrics(one)) == len(metrics(other))
    for a, b in zip(metrics(one), metrics(other), strict=True):
        assert a.keys() - {"grad_norm"} == b.keys() - {"grad_norm"}
        for key in a.keys() & b.keys() & {"loss", "ctc", "valid_loss", "grad_norm"}:
            assert a[key] == pytest.approx(b[key], rel=2e-4), (a["step"], key)
    weights = [checkpoint.read(exp / "best") for exp in (one, other)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-4, rtol=2e-3, msg=name)


@pytest.fixture(autouse=True)
def _quiet_logs():
    logging.getLogger("transformers").setLevel(logging.ERROR)


def kaldi(texts: dict[str, str]) -> str:
    """A table of Kaldi."""
    return "".join(f"{utterance} {text}".rstrip() + "\n" for utterance, text in texts.items())


def random_texts(seed: int, num: int = 40) -> tuple[dict[str, str], dict[str, str]]:
    """References and hypotheses with errors of each kind, by utterance."""
    words = ["a", "b", "c", "don't", "été"]
    rng = np.random.default_rng(seed)
    refs, hyps = {}, {}
    for k in range(num):
        ref = list(rng.choice(words, rng.integers(1, 9)))
        hyp = [w if rng.random() < 0.7 else rng.choice(words) for w in ref]
        hyp = [w for w in hyp if rng.random() < 0.9]
        if rng.random() < 0.3:
            hyp.insert(rng.integers(len(hyp) + 1), rng.choice(words))
        refs[f"s{k % 4}-{k:03d}"], hyps[f"s{k % 4}-{k:03d}"] = " ".join(ref), " ".join(hyp)
    return refs, hyps


REFERENCES = {"s1-a": "the cat sat", "s1-b": "on the mat", "s2-c": "<b>"}


def decoded_experiment(root: Path, tag: str, hyps: dict[tuple[str, str], dict[str, str]]) -> Path:
    """exp/<tag> as stage 4 leaves it, and data/test; `hyps`: (scale, set) -> utterance -> text."""
    data = root / "data/test"
    data.mkdir(parents=True, exist_ok=True)
    (data / "text").write_text(kaldi(REFERENCES))
    (data / "utt2spk").write_text(kaldi({u: u.split("-")[0] for u in REFERENCES}))
    for (scale, name), texts in hyps.items():
        folder = root / f"exp/{tag}/decode_{scale}/{name}"
        folder.mkdir(parents=True)
        (folder / "text").write_text(kaldi(texts))
        (folder / "decode.json").write_text(json.dumps({"data": str(data)}))
    return root / f"exp/{tag}"


SENTENCE = "my father bought a brave purple fish"


@pytest.fixture(scope="session")
def performance():
    """A speaker of the mini corpus who says SENTENCE."""
    from mome.synthesis.actor import Actor

    return Actor([1, 0, 0], "train", 0).perform(SENTENCE, [1, 0, 0, 0])


@pytest.fixture
def kaldi_tables(tmp_path) -> datadir.DataDir:
    """Two speakers, three utterances, in no order; paths with spaces."""
    keys = ["s2-00001", "s1-00002", "s1-00001"]
    media = {}
    for kind in ("wav", "mp4"):
        for key in keys:
            media[kind, key] = tmp_path / "my media" / f"{key}.{kind}"
            media[kind, key].parent.mkdir(exist_ok=True)
            media[kind, key].touch()
    return datadir.DataDir(
        wav={k: str(media["wav", k]) for k in keys},
        video={k: str(media["mp4", k]) for k in keys},
        text=dict(zip(keys, ["a b", "it's", "c"], strict=True)),
        utt2spk={k: k[:2] for k in keys},
        utt2dur={k: 1.25 for k in keys},
    )
