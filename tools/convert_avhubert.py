#!/usr/bin/env python3
"""Convert a public AV-HuBERT checkpoint: tools/convert_avhubert.py CHECKPOINT.pt OUT_DIR

The checkpoints (facebookresearch/av_hubert, for non-commercial research) hold tensors among objects
of fairseq and omegaconf. fairseq is not needed: an empty stub replaces every class except those of
tensors. Nothing that the file names is called, so a malicious file cannot run code.
Writes OUT_DIR/{config.json,model.safetensors}; set `encoders.video` of a train config to OUT_DIR.
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

# The only objects that a checkpoint may create; torch itself handles storages.
ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}
DROPPED = ("label_embs_concat", "final_proj.", "target_glu.")  # heads used in pre-training only
FINE_TUNED = "encoder.w2v_model."  # prefix of the encoder in a fine-tuned checkpoint


class Stub:
    """Replaces any other class or function: accepts everything, does nothing."""

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
    """Reads tensors and plain values; anything else becomes a stub."""

    def find_class(self, module: str, name: str):
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return ALLOWED.get((module, name), Stub)


SAFE_PICKLE = types.SimpleNamespace(  # what torch.load uses of a pickle module
    __name__="safe_pickle",
    Unpickler=Unpickler,
    load=lambda file, **_: Unpickler(file).load(),
)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors under `["model"]`; ValueError when the file is not such a checkpoint."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give an AV-HuBERT checkpoint, a .pt file")
    try:
        found = torch.load(path, map_location="cpu", pickle_module=SAFE_PICKLE, weights_only=False)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    model = found.get("model") if isinstance(found, dict) else None
    tensors = {k: v for k, v in (model or {}).items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise ValueError(f'{path} has no tensors under "model": is it an AV-HuBERT checkpoint?')
    return tensors


def encoder_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's tensors under our names, without heads and with weight norm resolved.

    w = g v / |v|, where the norm is over all dimensions but the kernel's (fairseq's dim=2).
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
    """The network's shape, read from its tensors; a head is 64 wide, as in Base and Large."""
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
    """Write the folder; ValueError when a tensor is missing, unknown or has another shape."""
    state = encoder_of(read_tensors(checkpoint))
    with torch.device("meta"):
        model = AVHuBERT(config_of(state))
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint} is not an AV-HuBERT network: {error}") from None
    model.save(out_dir)
    return model


def main(argv: list[str] | None = None) -> None:
    """Convert a checkpoint and print its size and sha256."""
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
