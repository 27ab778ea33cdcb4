"""The converter, on checkpoints written in the form of the public ones, and one that is hostile."""

import argparse
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import convert_avhubert as tool

from mome.avhubert import AVHuBERT, AVHuBERTConfig

SMALL = AVHuBERTConfig(
    dim=128, ffn_dim=96, num_layers=2, num_heads=2, position_kernel=8, position_groups=4
)  # the picture's part as in the Large


class TaskConfig:
    """Stands for fairseq's classes, which are not there when the file is read."""

    def __init__(self):
        self.name = "av_hubert_pretraining"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A .pt as fairseq writes it, and the network it holds."""
    torch.manual_seed(0)
    model = AVHuBERT(SMALL).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(128, 128, 8, groups=4), dim=2)
    with torch.no_grad():
        conv.parametrizations.weight.original0.uniform_(0.5, 2)
    model.encoder.pos_conv[0].weight = nn.Parameter(conv.weight.detach().clone())
    state = dict(model.state_dict())
    del state["encoder.pos_conv.0.weight"]
    state["encoder.pos_conv.0.weight_g"] = conv.parametrizations.weight.original0.detach()
    state["encoder.pos_conv.0.weight_v"] = conv.parametrizations.weight.original1.detach()
    state["label_embs_concat"] = torch.randn(9, 4)
    state["final_proj.weight"], state["final_proj.bias"] = torch.randn(4, 128), torch.randn(4)
    path = tmp_path_factory.mktemp("pt") / "large.pt"
    module = types.ModuleType("fairseq_tasks")
    TaskConfig.__module__, module.TaskConfig = "fairseq_tasks", TaskConfig
    sys.modules["fairseq_tasks"] = module
    found = {
        "args": argparse.Namespace(arch="av_hubert"),
        "cfg": {"task": TaskConfig(), "paths": [Path("x")]},
        "model": state,
        "optimizer_history": [{"num_updates": 7, "task": TaskConfig()}],
        "extra_state": {"epoch": 3},
    }
    torch.save(found, path)
    torch.save(found, path.with_name("old.pt"), _use_new_zipfile_serialization=False)
    tuned = {f"encoder.w2v_model.{k}": v for k, v in state.items()}
    torch.save(
        {"model": tuned | {"decoder.w": torch.ones(2)}, "cfg": TaskConfig()},
        path.with_name("tuned.pt"),
    )
    del sys.modules["fairseq_tasks"]
    return path, model


@pytest.mark.parametrize("name", ["large.pt", "old.pt", "tuned.pt"])
def test_the_folder_gives_the_frames_of_the_checkpoint(checkpoint, tmp_path, name, capsys):
    path, model = checkpoint
    tool.main([str(path.with_name(name)), str(tmp_path / "out")])
    assert "2 layers" in capsys.readouterr().out
    video = torch.randn(1, 1, 7, 88, 88)
    converted = AVHuBERT.from_folder(tmp_path / "out")
    assert converted.config == SMALL
    with torch.no_grad():
        torch.testing.assert_close(converted(video), model(video), atol=1e-5, rtol=1e-4)


class Hostile:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_tries_to_run_code_does_not(tmp_path, zipped):
    trap = tmp_path / "trap"
    calls = [
        Hostile(os.system, f"touch {trap}"),
        Hostile(eval, f"open({str(trap)!r}, 'w')"),
        Hostile(getattr, str, "join"),
        Hostile(exec, f"open({str(trap)!r}, 'w')"),
    ]
    path = tmp_path / "bad.pt"
    found = {"model": {"x": torch.ones(1)}, "cfg": calls}
    torch.save(found, path, _use_new_zipfile_serialization=zipped)
    assert list(tool.read_tensors(path)) == ["x"]
    with pytest.raises(SystemExit, match="has no 'encoder"):
        tool.main([str(path), str(tmp_path / "out")])
    assert not trap.exists() and not (tmp_path / "out").exists()


def test_other_files_are_refused(tmp_path, checkpoint):
    path, _ = checkpoint
    with pytest.raises(FileNotFoundError, match="give an AV-HuBERT checkpoint"):
        tool.convert(tmp_path / "none.pt", tmp_path / "out")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        tool.convert(tmp_path / "text.pt", tmp_path / "out")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match='no tensors under "model"'):
        tool.convert(tmp_path / "list.pt", tmp_path / "out")
    half = path.read_bytes()
    (tmp_path / "half.pt").write_bytes(half[: len(half) // 2])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        tool.convert(tmp_path / "half.pt", tmp_path / "out")
    tensors = torch.load(path, weights_only=False, pickle_module=safe())["model"]
    tensors["encoder.layers.0.fc3.weight"] = torch.ones(1)
    torch.save({"model": tensors}, tmp_path / "more.pt")
    with pytest.raises(ValueError, match=r"is not an AV-HuBERT network: [^$]*fc3"):
        tool.convert(tmp_path / "more.pt", tmp_path / "out")


def safe():
    module = types.ModuleType("safe")
    module.Unpickler, module.load = tool.Unpickler, lambda f, **_: tool.Unpickler(f).load()
    return module


def independent(state: dict, video: torch.Tensor) -> torch.Tensor:
    """AV-HuBERT's forward pass on (T, 88, 88), step by step from the tensors of a checkpoint."""
    F = nn.functional

    def norm(name, x):  # BatchNorm as it is used: with its running statistics
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return x * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)

    def prelu(name, x):
        slope = state[f"{name}.weight"].view((1, -1) + (1,) * (x.dim() - 2))
        return torch.where(x > 0, x, slope * x)

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def layer_norm(name, x):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    r = "feature_extractor_video.resnet."
    weight = state[r + "frontend3D.0.weight"]
    x = F.conv3d(video[None, None], weight, stride=(1, 2, 2), padding=(2, 3, 3))
    x = prelu(r + "frontend3D.2", norm(r + "frontend3D.1", x))
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))[0].transpose(0, 1)
    for stage in range(1, 5):
        for block in range(2):
            name = f"{r}trunk.layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = prelu(f"{name}.relu1", norm(f"{name}.bn1", y))
            y = norm(f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
            if f"{name}.downsample.0.weight" in state:
                x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                x = norm(f"{name}.downsample.1", x)
            x = prelu(f"{name}.relu2", x + y)
    x = linear("feature_extractor_video.proj", x.mean((2, 3)))
    x = linear("post_extract_proj", layer_norm("layer_norm", torch.cat([0 * x, x], dim=1)))
    g, v = (state[f"encoder.pos_conv.0.weight_{k}"] for k in "gv")
    kernel = torch.stack([g[0, 0, k] * v[..., k] / v[..., k].norm() for k in range(v.shape[2])], 2)
    y = F.conv1d(x.T[None], kernel, state["encoder.pos_conv.0.bias"], padding=4, groups=4)
    x = x + F.gelu(y[0, :, :-1].T)
    T, D = x.shape
    for k in range(2):
        name = f"encoder.layers.{k}"
        y = layer_norm(f"{name}.self_attn_layer_norm", x)
        q, key, value = (linear(f"{name}.self_attn.{p}_proj", y) for p in "qkv")
        out = []
        for head in range(2):
            part = slice(head * 64, head * 64 + 64)
            weights = (q[:, part] @ key[:, part].T / 8).softmax(-1)
            out.append(weights @ value[:, part])
        x = x + linear(f"{name}.self_attn.out_proj", torch.cat(out, 1))
        y = layer_norm(f"{name}.final_layer_norm", x)
        x = x + linear(f"{name}.fc2", F.gelu(linear(f"{name}.fc1", y)))
    assert (len(video), 128) == (T, D)
    return layer_norm("encoder.layer_norm", x)


@torch.no_grad()
def test_numbers_are_those_of_an_independent_forward_pass(checkpoint, tmp_path):
    path, _ = checkpoint
    video = torch.randn(6, 88, 88)
    expected = independent(tool.read_tensors(path), video)
    frames = tool.convert(path, tmp_path / "out").eval()(video[None, None])[0]
    torch.testing.assert_close(frames, expected, atol=1e-4, rtol=1e-3)
