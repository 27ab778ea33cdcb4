"""One training run in several processes: DeepSpeed's set-up, and sums over devices.

No other file imports DeepSpeed. Its launcher sets the variables in `LAUNCHED` for each process.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

# DeepSpeed reads this at import. Without a GPU it would search for one and report that on stdout.
os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
import deepspeed
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.utils import clip_grad_norm_
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from pydantic import ValidationError
from torch import Tensor
from transformers.integrations import HfDeepSpeedConfig

from mome.config import Config

IN_STATES = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]  # beside tensors
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# On a CPU, DeepSpeed would compile this operator for inference at start. We do not use it; it needs
# a compiler and leaves shared memory behind.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
# DeepSpeed calls functions of torch.distributed by their old names.
warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
deepspeed_log = logging.getLogger("DeepSpeed")  # it does not propagate to the root logger
for terminal in deepspeed_log.handlers:
    terminal.setLevel(logging.WARNING)


def connect() -> torch.device:
    """Join the other processes of the run; this one's device. ValueError without a launcher."""
    if missing := [name for name in LAUNCHED if name not in os.environ]:
        raise ValueError(
            f"{', '.join(missing)} not set; start training with the launcher:"
            " deepspeed --num_gpus 1 --module mome.bin.train ..."
        )
    get_accelerator().set_device(int(os.environ["LOCAL_RANK"]))  # before the first use of a device
    deepspeed.init_distributed()
    return torch.device(get_accelerator().current_device_name())


def log_to_file(path: Path) -> None:
    """Log to a file too. DeepSpeed's lines below WARNING go only to this file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    logging.getLogger().addHandler(handler)
    deepspeed_log.setLevel(logging.INFO)
    deepspeed_log.addHandler(handler)


@contextlib.contextmanager
def sharded_loading(engine_settings: dict) -> Iterator[HfDeepSpeedConfig]:
    """A context in which transformers gives each device its part of a weight, under ZeRO 3."""
    settings = HfDeepSpeedConfig(engine_settings)  # transformers holds only a weak reference to it
    yield settings


def gathered(parameters: list[torch.nn.Parameter]) -> contextlib.AbstractContextManager:
    """A context in which this process holds all of the parameters that ZeRO 3 has sharded."""
    return deepspeed.zero.GatheredParameters([p for p in parameters if hasattr(p, "ds_id")])


def start_engine(model: Any, cfg: Config, engine_settings: dict) -> Any:
    """DeepSpeed's engine around a MoMEModel, with AdamW on the trained weights."""
    trained = model.trained()
    for parameter in trained.values():  # under ZeRO 3 DeepSpeed would leave them in float32
        parameter.data = parameter.data.to(model.llm.dtype)
    beta1, beta2 = cfg.train.betas
    groups = parameter_groups(trained, cfg.train.router_lr_factor)
    optimizer = torch.optim.AdamW(
        groups, cfg.train.lr, (beta1, beta2), weight_decay=cfg.train.weight_decay
    )
    try:
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            model_parameters=list(trained.values()),
            config=engine_settings,
        )
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise ValueError(
            f"{cfg.train.deepspeed}: {name} is {fault['input']!r}: {fault['msg']}"
        ) from None

    def clip_gradients() -> None:  # DeepSpeed's, which forgets the norm
        parameters, limit = engine.module.parameters(), engine.gradient_clipping()
        engine._global_grad_norm = clip_grad_norm_(parameters, limit, mpu=engine.mpu)

    engine.clip_fp32_gradients = clip_gradients
    return engine


def parameter_groups(
    trained: dict[str, torch.nn.Parameter], router_lr_factor: float
) -> list[dict[str, Any]]:
    """The groups of an optimizer over named parameters: routers have one if their factor is not 1.

    `lr_factor` of a group is what `set_learning_rate` multiplies its learning rate by.
    """
    routers, others = {}, dict(trained)
    if router_lr_factor != 1:
        routers = {n: others.pop(n) for n in trained if n.endswith(".router.weight")}
    groups = [(others, 1.0), (routers, router_lr_factor)]
    return [{"params": list(p.values()), "lr_factor": factor} for p, factor in groups if p]


def set_learning_rate(optimizer: Any, lr: float) -> None:
    """Set the learning rate of all groups. (Those of a state of version 0.1 have no factor.)"""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


@contextlib.contextmanager
def data_only() -> Iterator[None]:
    """A context in which every torch.load, DeepSpeed's too, builds tensors and plain values alone.

    A pickle may call any function. DeepSpeed would let it (`weights_only=False`), but this variable
    overrules the argument. What else a state of DeepSpeed's needs is in IN_STATES.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals(IN_STATES):
            yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def agreed(value: Any) -> Any:
    """The first process's value, on all processes."""
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def total(number: float, device: torch.device) -> Tensor:
    """The sum of a number over all devices, (), float64, on this device."""
    value = torch.full((), float(number), device=device, dtype=torch.float64)
    dist.all_reduce(value)
    return value


def sums_over_devices(
    batch_stats: list[tuple[dict[str, Tensor], Tensor]],
    names: list[str],
    device: torch.device,
    numbers: Sequence[float | Tensor] = (),
) -> Tensor:
    """Sums over the batches of all devices, by one call, (2 * names + numbers,) float64.

    They are: of each name, value times weight; of each name, the weights of the batches that have
    it; then those of `numbers`. Nothing here waits for the device.

    Args:
        batch_stats: values by name, and the weight, of each batch of this device.
        names: all names that a batch may have.
        numbers: more numbers of this device.
    """
    zero = torch.zeros((), dtype=torch.float64, device=device)
    sums = zero.repeat(2, len(names))
    for stats, weight in batch_stats:
        assert stats.keys() <= set(names), f"{stats.keys() - set(names)} has no place"
        has = torch.tensor([float(name in stats) for name in names], dtype=torch.float64)
        values = torch.stack([stats.get(name, zero).double() for name in names])
        sums += torch.stack([values, has.to(device, non_blocking=True)]) * weight
    flat = torch.cat([sums.flatten(), *((zero + number).view(1) for number in numbers)])
    dist.all_reduce(flat)
    return flat


def means(sums: list[float], names: list[str]) -> dict[str, float]:
    """Weighted means of the names that a batch had, from the numbers of `sums_over_devices`."""
    weights = sums[len(names) : 2 * len(names)]
    found = zip(names, sums, weights, strict=False)
    return {name: value / weight for name, value, weight in found if weight}


class OnHost:
    """A tensor on its way to the CPU, while the device goes on with what comes after it."""

    def __init__(self, x: Tensor):
        self.copy = x.to("cpu", non_blocking=True)
        self.arrived = torch.cuda.Event() if x.is_cuda else None
        if self.arrived:
            self.arrived.record()

    def tolist(self) -> list[float]:
        """Its numbers; waits until they are here."""
        if self.arrived:
            self.arrived.synchronize()
        return self.copy.tolist()


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
