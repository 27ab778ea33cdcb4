#!/usr/bin/env python3
"""Print one line for each dependency: its version, or what to do when it is missing.

The exit status is 1 when a needed one is missing.
"""

import importlib
import importlib.metadata
import logging
import os
import shutil
import sys

# module -> (distribution, what it is for)
NEEDED = {
    "torch": ("torch", "tensors and training"),
    "transformers": ("transformers", "LLMs and Whisper"),
    "deepspeed": ("deepspeed", "the training engine"),
    "espnet2.train.abs_espnet_model": ("espnet", "model contract, Reporter, data directories"),
    "sentencepiece": ("sentencepiece", "tokenizer of the baby LLM, token error rate"),
    "kaldiio": ("kaldiio", "feature archives"),
    "soundfile": ("soundfile", "audio files"),
    "jiwer": ("jiwer", "alignment and word error rate"),
    "safetensors": ("safetensors", "checkpoints"),
    "omegaconf": ("omegaconf", "configuration"),
    "av": ("av", "reading and writing mp4"),
    "cv2": ("opencv-python-headless", "images"),
    "scipy": ("scipy", "resampling"),
    "tensorboard": ("tensorboard", "training curves"),
    "matplotlib": ("matplotlib", "figures"),
    "markdown": ("markdown", "the page of a report"),
    "google.protobuf": ("protobuf", "message format of mediapipe and tensorboard"),
}
OPTIONAL = {
    "mediapipe": ("mediapipe", "finding mouths (--landmarks mediapipe)"),
    "espeakng_loader": ("espeakng-loader", "speech of the mini corpus"),
    "cmeel": ("cmeel-mimalloc", "memory of training on a CPU, at once"),
    "gguf": ("gguf", "SmolLM2 from a package, when there is no hub"),
}


def silence() -> None:
    """Hide what packages print while they are imported; failures are raised as exceptions."""
    logging.disable(logging.WARNING)  # deepspeed
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native code under mediapipe


def find(module: str, distribution: str) -> tuple[bool, str]:
    """Whether `module` can be imported, and its version or the error."""
    try:
        importlib.import_module(module)
        return True, importlib.metadata.version(distribution)
    except Exception as error:  # a broken package may raise anything
        return False, f"{type(error).__name__}: {error}".splitlines()[0]


def main() -> None:
    """Print the list; exit when something needed is missing."""
    missing = 0
    stderr = os.dup(2)
    silence()
    print(f"{'python':24} {sys.version.split()[0]:16} {sys.executable}")
    for packages, needed in ((NEEDED, True), (OPTIONAL, False)):
        for module, (distribution, purpose) in packages.items():
            found, what = find(module, distribution)
            if found:
                print(f"{distribution:24} {what:16} {purpose}")
            else:
                missing += needed
                word = "MISSING" if needed else "missing, optional"
                print(f"{distribution:24} {word}: {purpose}; {what}. Run tools/install.sh")
    sclite = find_sclite()
    print(f"{'sclite':24} {sclite or 'not found, optional: Debian package sctk':16}", end=" ")
    print("NIST's scorer, to compare ours with" if sclite else "")
    import torch

    devices = torch.cuda.device_count()
    print(f"{'device':24} {f'{devices} GPU(s)' if devices else 'CPU only'}")
    os.dup2(stderr, 2)
    if missing:
        sys.exit(f"{missing} needed package(s) missing: run tools/install.sh")


def find_sclite() -> str | None:
    """The command that calls NIST sclite on this machine, or None."""
    if shutil.which("sclite"):
        return "sclite"
    if shutil.which("sctk"):
        return "sctk sclite"
    return None


if __name__ == "__main__":
    main()
