"""MoME: audio-visual speech recognition with a Mixture of Matryoshka Experts.

    import mome
    model = mome.load_model("exp/train_mome_layer")
    print(mome.transcribe(model, "clip.mp4", scale="a16_v5").text)

These functions, described in `mome/transcription`, are the public interface. They are imported
when they are first used, since PyTorch takes seconds.
"""

import importlib
from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "load_model", "open_recording", "transcribe", "transcribe_all"]

load_model: Any
open_recording: Any
transcribe: Any
transcribe_all: Any


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "load" if name == "load_model" else "transcribe"
        return getattr(importlib.import_module(f"mome.transcription.{module}"), name)
    raise AttributeError(f"module 'mome' has no attribute '{name}'")
