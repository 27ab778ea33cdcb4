"""DeepSpeed's settings: ZeRO and communication from the user's JSON file, the rest from ours.

Nothing here imports PyTorch, so that a recipe can check the file before its first stage.
"""

from pathlib import Path
from typing import Any

from mome import files
from mome.config import Config

OURS = {  # settings of the file that ours decide
    "optimizer": "train.lr, train.betas and train.weight_decay",
    "scheduler": "train.lr_warmup_steps",
    "train_batch_size": "train.max_frames and the number of devices",
    "train_micro_batch_size_per_gpu": "train.max_frames",
    "gradient_accumulation_steps": "train.accumulation",
    "gradient_clipping": "train.max_grad_norm",
    "bf16": "model.llm_dtype",
    "fp16": "model.llm_dtype",
    "amp": "model.llm_dtype",
    "steps_per_print": "mome",
    "zero_allow_untested_optimizer": "mome",
}


def read(path: Path) -> dict[str, Any]:
    """A DeepSpeed JSON file; FileNotFoundError, or ValueError for one that is not of its form."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train.deepspeed names a DeepSpeed JSON file")
    found = files.read_json_object(path)
    for name in OURS:
        if name in found:
            raise ValueError(f"{path} sets {name}, which {OURS[name]} decides: remove it there")
    zero = found.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise ValueError(f"{path}: zero_optimization must hold settings by name, got {zero!r}")
    stage = zero.get("stage", 0)
    if type(stage) is not int or stage not in range(4):
        raise ValueError(f"{path}: zero_optimization.stage must be 0, 1, 2 or 3, got {stage!r}")
    return found


def build(cfg: Config, path: Path, bf16: bool) -> dict[str, Any]:
    """The settings for DeepSpeed's engine; `bf16`: the model is in bfloat16.

    Raises what `read` raises, and ValueError when the file does not go with our settings.
    """
    engine = read(path)
    zero_3 = engine.get("zero_optimization", {}).get("stage") == 3
    if cfg.model.quantise != "none" and zero_3:
        raise ValueError(
            f"{path}: ZeRO 3 cannot shard a quantised LLM (model.quantise={cfg.model.quantise}):"
            " use stage 0, 1 or 2, or model.quantise=none"
        )
    if cfg.encoders.video_lora_rank and zero_3:
        # ZeRO 3 needs as many passes on each device, but the encoder takes a few clips at a time.
        raise ValueError(
            f"{path}: ZeRO 3 cannot train the video encoder (encoders.video_lora_rank"
            f" {cfg.encoders.video_lora_rank}): use stage 0, 1 or 2"
        )
    return engine | {
        "train_micro_batch_size_per_gpu": 1,  # nominal: a batch is limited by its frames
        "gradient_accumulation_steps": cfg.train.accumulation,
        "gradient_clipping": cfg.train.max_grad_norm,
        "bf16": {"enabled": bf16},
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
    }
