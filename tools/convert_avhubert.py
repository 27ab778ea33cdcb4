#!/usr/bin/env python3
"""A public AV-HuBERT checkpoint to a folder: tools/convert_avhubert.py CHECKPOINT.pt OUT_DIR

The checkpoints (facebookresearch/av_hubert, for non-commercial research) hold tensors among objects
of fairseq and omegaconf. fairseq is not needed: every class but those of tensors is read as an
empty stub, and nothing that the file names is ever called, so a file made to run code does not.
Writes OUT_DIR/{config.json,model.safetensors}, which `encoders.video` of a train config may name.
"""

import argparse
import collections
import hashlib
import pickle
import sys
import types
from pathlib import Path

import torch

from mome.avhubert import AVHuBERT, AVHuBERTConfig

# The only things a checkpoint may make; torch itself handles storages.
ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}
DROPPED = ("label_embs_concat", "final_proj.", "target_glu.")  # heads of the pre-training
FINE_TUNED = "encoder.w2v_model."  # where a checkpoint that was fine-tuned keeps the encoder


class Stub:
    """In place of any other class or function: takes everything, does nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state) -> None:
        pass

    def __setitem__(self, key, value) -> None:
        pass

    def append(self, value) -> None:
        pass

    def extend(self, values) -> None:
        pass


class Unpickler(pickle.Unpickler):
    """Reads tensors and plain values, and stubs for the rest."""

    def find_class(self, module: str, name: str):
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return ALLOWED.get((module, name), Stub)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of `["model"]`; ValueError when the file is no such checkpoint."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give a checkpoint of AV-HuBERT, a .pt file"
        )
    safe = types.ModuleType("safe_pickle")
    safe.Unpickler, safe.load = Unpickler, lambda file, **_: Unpickler(file).load()
    try:
        found = torch.load(path, map_location="cpu", pickle_module=safe, weights_only=False)
    except (
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    model = found.get("model") if isinstance(found, dict) else None
    tensors = {k: v for k, v in (model or {}).items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise ValueError(f'{path} has no tensors under "model": is it a checkpoint of AV-HuBERT?')
    return tensors


def encoder_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's tensors under our names: heads dropped, the weight norm folded.

    w = g v / |v|, the norm over all but the tap of the convolution (fairseq's dim=2).
    """
    if any(name.startswith(FINE_TUNED) for name in tensors):
        tensors = {
            k.removeprefix(FINE_TUNED): v for k, v in tensors.items() if k.startswith(FINE_TUNED)
        }
    state = {k: v.float() for k, v in tensors.items() if not k.startswith(DROPPED)}
    conv = "encoder.pos_conv.0.weight"
    if f"{conv}_g" in state:
        g, v = state.pop(f"{conv}_g"), state.pop(f"{conv}_v")
        state[conv] = g * v / v.norm(dim=(0, 1), keepdim=True)
    for name in state:
        if name.endswith("num_batches_tracked"):
            state[name] = state[name].long()
    return state


def config_of(state: dict[str, torch.Tensor]) -> AVHuBERTConfig:
    """The network's shape, read off its tensors; heads are 64 wide, as in Base and Large."""
    try:
        dim = len(state["encoder.layer_norm.weight"])
        _, group_dim, kernel = state["encoder.pos_conv.0.weight"].shape
        return AVHuBERTConfig(
            dim=dim,
            ffn_dim=len(state["encoder.layers.0.fc1.bias"]),
            num_layers=sum(k.endswith(".fc1.bias") for k in state),
            num_heads=dim // 64,
            position_kernel=kernel,
            position_groups=dim // group_dim,
            audio_dim=state["feature_extractor_audio.proj.weight"].shape[1],
        )
    except KeyError as error:
        raise ValueError(f"the checkpoint has no {error}, which every AV-HuBERT has") from None


def convert(checkpoint: Path, out_dir: Path) -> AVHuBERT:
    """Write the folder; ValueError when any tensor is missing, left over or of another shape."""
    state = encoder_of(read_tensors(checkpoint))
    with torch.device("meta"):
        model = AVHuBERT(config_of(state))
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint} is another network than AV-HuBERT: {error}") from None
    model.save(out_dir)
    return model


def main(argv: list[str] | None = None) -> None:
    """Convert a checkpoint and say what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="such as large_vox_iter5.pt")
    parser.add_argument("out_dir", type=Path, help="such as downloads/avhubert-large")
    args = parser.parse_args(argv)
    try:
        model = convert(args.checkpoint, args.out_dir)
    except (ValueError, OSError) as error:
        sys.exit(f"convert_avhubert: error: {error}")
    count = sum(p.numel() for p in model.parameters())
    with args.checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    print(f"{args.out_dir}: {count / 1e6:.1f}M parameters, {model.config.num_layers} layers")
    print(f"sha256 of the checkpoint: {sha256}")


if __name__ == "__main__":
    main()
