"""What only a GPU can show: `python -m pytest -m gpu`. tools/bench/gpu.sh runs it, too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import WordTokenizer, assert_same_training, baby_model, baby_recipe, random_batch

from mome import decoding
from mome.compression import Scale
from mome.config import DecodeConfig, ModelConfig
from mome.data.dataset import to_device
from mome.model import MoMEModel, load_llm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
GPU = torch.device("cuda", 0)


def step(model: MoMEModel, device: torch.device, dtype: torch.dtype) -> tuple[float, torch.Tensor]:
    """Loss and all gradients of a step on a device, as float32 on the CPU."""
    model = model.to(device, dtype).train()
    loss = model(**to_device(random_batch(), device))[0]
    loss.backward()
    gradients = [p.grad.float().cpu().flatten() for p in model.trained().values()]
    return loss.item(), torch.cat(gradients)


def apart(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x - y).norm() / y.norm())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("position", ["mhsa", "ffn", "layer"])
def test_a_step_is_that_of_the_cpu(position, attention):
    def model() -> MoMEModel:
        system = baby_model(position=position)
        system.llm.set_attn_implementation(attention)
        return system

    loss, gradients = step(model(), torch.device("cpu"), torch.float32)
    for dtype, far in ((torch.float32, 1e-3), (torch.bfloat16, 0.1)):
        gpu_loss, gpu_gradients = step(model(), GPU, dtype)
        assert gpu_loss == pytest.approx(loss, rel=far / 3)
        assert apart(gpu_gradients, gradients) < far


def test_the_text_is_that_of_the_cpu():
    texts = []
    for device in (torch.device("cpu"), GPU):
        model, batch = baby_model().to(device), to_device(random_batch(), device)
        search = DecodeConfig(num_beams=5, extra_tokens=4)
        scale = Scale.parse("a4_v2")
        texts.append(decoding.decode(model, WordTokenizer(), batch, scale, search))
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return baby_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.mark.parametrize("quantise, far", [("8bit", 0.1), ("4bit", 0.5)])
def test_an_llm_in_few_bits_trains_and_decodes(recipe, quantise, far):
    pytest.importorskip("bitsandbytes")
    losses = []
    for kind in ("none", quantise):
        settings = ModelConfig(
            llm=str(recipe / "baby/baby-llm"), llm_dtype="bfloat16", quantise=kind,
            projector_dim=12, num_routed=5, num_active=2, expert_dim=3,
        )  # fmt: skip
        llm, tokenizer = load_llm(settings, GPU)
        torch.manual_seed(0)
        model = MoMEModel(settings, llm, tokenizer, {"audio": 8, "video": 6}).to(GPU)
        model.to(llm.dtype).train()
        batch = to_device(random_batch(), GPU)
        loss = model(**batch)[0]
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.trained().values())
        losses.append(loss.item())
        search = DecodeConfig(num_beams=2, extra_tokens=2)
        assert len(decoding.decode(model, tokenizer, batch, Scale.parse("a4_v2"), search)) == 3
    assert losses[1] == pytest.approx(losses[0], rel=far)


def train(recipe: Path, exp: str, stage: int) -> None:
    """A training run on one GPU, started as a user does."""
    command = [Path(sys.executable).parent / "deepspeed", "--num_gpus", "1"]
    command += ["--master_port", str(29600 + stage), "--module", "mome.bin.train"]
    command += ["--train_set", "dump/feats/train", "--valid_set", "dump/feats/valid"]
    command += ["--config", "train.yaml", "--exp_dir", exp]
    command += ["model.llm_dtype=float32", f"train.deepspeed=zero{stage}.json"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "DS_ACCELERATOR": "cuda"}
    done = subprocess.run(
        command, cwd=recipe, env=env, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_zero_stage_trains_alike(recipe, stage):
    if not (recipe / "exp/zero0").exists():
        train(recipe, "exp/zero0", 0)
    train(recipe, f"exp/zero{stage}", stage)
    assert_same_training(recipe / f"exp/zero{stage}", recipe / "exp/zero0")
