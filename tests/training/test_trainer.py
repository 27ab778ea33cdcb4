"""Bookkeeping of a run, with a real model and a stand-in for DeepSpeed's engine."""

import math
import os
import signal
from pathlib import Path

import pytest
import torch
from conftest import baby_model, metrics
from transformers import masking_utils

from mome import checkpoint
from mome.bin.train import STOPPED, train
from mome.config import Config, TrainConfig
from mome.data.dataset import Pick, Sampler
from mome.training import saved_states
from mome.training import trainer as trainer_module
from mome.training.distributed import sums_over_devices, total
from mome.training.loader import ReadAhead
from mome.training.schedule import Schedule
from mome.training.trainer import Trainer, names_of_stats

CFG = TrainConfig(
    num_steps=5,
    lr=1e-2,
    lr_warmup_steps=2,
    max_frames=120,
    accumulation=2,
    valid_every=2,
    save_every=2,
    keep_checkpoints=2,
)


class Engine(torch.nn.Module):
    """What the trainer and the loop use of a DeepSpeed engine, on one device without ZeRO."""

    device = torch.device("cpu")

    def __init__(self, model: torch.nn.Module, accumulation: int = CFG.accumulation):
        super().__init__()
        self.module, self.accumulation, self.num_batches = model, accumulation, 0
        self.optimizer = torch.optim.AdamW(model.trained().values(), lr=0.0)

    def forward(self, **batch):
        return self.module(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self.accumulation).backward()

    def step(self) -> None:
        self.num_batches += 1
        if self.num_batches % self.accumulation == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def zero_optimization_stage(self) -> int:
        return 0

    def get_global_grad_norm(self) -> None:
        return None

    def save_checkpoint(self, folder, tag, client_state, exclude_frozen_parameters) -> None:
        state = {"optimizer": self.optimizer.state_dict(), "client": client_state}
        state |= {"module": self.module.trained(), "dp_world_size": 1, "ds_config": {}}
        torch.save(state | client_state, Path(folder, tag, "mp_rank_00_model_states.pt"))
        Path(folder, "latest").write_text(tag)

    def load_checkpoint(self, folder, tag, custom_load_fn):
        path = Path(folder, tag)
        state = torch.load(path / "mp_rank_00_model_states.pt", weights_only=False)  # as DeepSpeed
        self.optimizer.load_state_dict(state["optimizer"])
        custom_load_fn(src=state["module"], dst=self.module)
        return path, state["client"]


@pytest.fixture(autouse=True)
def _group(process_group):
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def trainer_in(exp_dir, features, **changes) -> Trainer:
    exp_dir.mkdir(exist_ok=True)
    model = baby_model(frame_dims={"audio": 6, "video": 5})
    cfg = Config(train=TrainConfig(**{**vars(CFG), **changes}))
    schedule = Schedule.of(cfg.train, sampler_of(features, model))
    return Trainer(Engine(model), cfg, exp_dir, features["valid"], {}, 2.0, schedule)


def sampler_of(features, model) -> Sampler:
    data = features["train"]
    return Sampler(
        lengths=[data.length(i) for i in range(len(data))],
        max_frames=CFG.max_frames,
        seed=0,
        accumulation=CFG.accumulation,
        scales=tuple(map(str, model.scales)),
        scales_per_step=1,
    )


def run(trainer: Trainer, features) -> None:
    sampler = sampler_of(features, trainer.engine.train().module)
    train(trainer.engine, features["train"], sampler, trainer.cfg.train, trainer)


def steps_of(exp_dir) -> list[int]:
    return [line["step"] for line in metrics(exp_dir) if "loss" in line]


def validated(exp_dir) -> list[int]:
    return [line["step"] for line in metrics(exp_dir) if "valid_loss" in line]


def test_the_loop_validates_and_saves_on_the_way_and_at_the_end(tmp_path, features):
    run(trainer_in(tmp_path, features), features)
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5]
    assert validated(tmp_path) == [2, 4, 5]
    assert [p.name for p in checkpoint.steps(tmp_path)] == ["step_4", "step_5"]  # older: deleted
    assert [line["lr"] for line in metrics(tmp_path) if "lr" in line] == [
        Schedule(CFG, 5).learning_rate(step) for step in range(5)
    ]


def test_a_resumed_run_gives_the_losses_of_one_that_was_not_stopped(tmp_path, features):
    run(trainer_in(tmp_path / "whole", features), features)
    stopped = trainer_in(tmp_path / "stopped", features)
    end_step = stopped.end_step

    def stop_and_end_step(*args) -> None:
        if stopped.step == 2:  # the signal comes while the third step is computed
            os.kill(os.getpid(), signal.SIGTERM)
        end_step(*args)

    stopped.end_step = stop_and_end_step
    with pytest.raises(SystemExit) as exit:
        run(stopped, features)
    assert exit.value.code == STOPPED == 143
    assert checkpoint.steps(tmp_path / "stopped")[-1].name == "step_3"

    with (tmp_path / "stopped/metrics.jsonl").open("a") as file:  # lines of a step that was lost
        file.write('{"step": 4, "loss": 99}\n')
    resumed = trainer_in(tmp_path / "stopped", features)
    resumed.resume(saved_states.newest_whole(tmp_path / "stopped", 1))
    assert resumed.step == 3
    run(resumed, features)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    weights = [checkpoint.read(tmp_path / exp / "best") for exp in ("whole", "stopped")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_validation_loss_is_a_mean_over_tokens_whatever_the_batches(tmp_path, features):
    for name, max_frames in (("one", 1000), ("many", 40)):
        trainer_in(tmp_path / name, features, max_frames=max_frames).validate()
    one, many = (metrics(tmp_path / name)[0] for name in ("one", "many"))
    assert one == {key: pytest.approx(value, rel=1e-5) for key, value in many.items()}
    data = features["valid"]
    engine = trainer_in(tmp_path / "alone", features).engine.eval()
    alone = [engine(**data.collate([i])) for i in range(len(data))]
    total = sum(loss.item() * weight.item() for loss, _, weight in alone)
    assert one["valid_loss"] == pytest.approx(total / sum(w.item() for *_, w in alone), rel=1e-5)


def test_best_holds_the_weights_of_the_lowest_validation_loss(tmp_path, features):
    trainer = trainer_in(tmp_path, features)
    trainer.validate()
    best = checkpoint.read(tmp_path / "best")
    model = trainer.engine.module
    with torch.no_grad():
        model.llm.lm_head.weight *= 50  # a random LLM that is very sure of its guesses
        for parameter in model.trained().values():
            parameter.add_(1.0)
    trainer.validate()
    assert metrics(tmp_path)[1]["valid_loss"] > metrics(tmp_path)[0]["valid_loss"]
    again = checkpoint.read(tmp_path / "best")
    assert all(torch.equal(best[name], again[name]) for name in best)


def test_a_line_of_metrics_weighs_batches_by_their_tokens(tmp_path, features):
    trainer = trainer_in(tmp_path, features)
    for loss, weight in ((1.0, 30), (2.0, 10)):
        stats = {"loss": torch.tensor(loss), "llm_tokens": torch.tensor(7)}
        trainer.add(stats, torch.tensor(weight))
    trainer.end_step(lr=0.5, seconds_waited=0.0)
    assert metrics(tmp_path) == [
        {"step": 1, "text_tokens": 40, "llm_tokens": 14, "loss": 1.25, "lr": 0.5}
    ]


EPOCHS = {"num_steps": 0, "num_epochs": 2, "valid_every": 0, "save_every": 0}


def test_epochs_end_with_a_validation_and_a_checkpoint_and_survive_a_stop(tmp_path, features):
    whole = trainer_in(tmp_path / "whole", features, **EPOCHS)
    ends = whole.schedule.epoch_ends
    run(whole, features)
    assert validated(tmp_path / "whole") == [*ends] and 1 < ends[0] < ends[1]
    assert [p.name for p in checkpoint.steps(tmp_path / "whole")] == [f"step_{n}" for n in ends]

    stopped = trainer_in(tmp_path / "stopped", features, **EPOCHS)
    stopped._stop()
    with pytest.raises(SystemExit):
        run(stopped, features)
    resumed = trainer_in(tmp_path / "stopped", features, **EPOCHS)
    resumed.resume("step_1")
    assert resumed.step == 1
    run(resumed, features)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")


def test_epochs_cannot_be_resumed_with_steps_of_another_size(tmp_path, features):
    trainer_in(tmp_path, features, **EPOCHS).save()
    with pytest.raises(ValueError, match="made with 2 batches a step and this run has 4"):
        trainer_in(tmp_path, features, **EPOCHS, accumulation=4).resume("step_0")
    trainer_in(tmp_path / "steps", features).save()
    trainer_in(tmp_path / "steps", features, accumulation=4).resume("step_0")


def test_steps_that_are_written_later_are_the_same_and_a_checkpoint_has_all_before_it(
    tmp_path, features, monkeypatch
):
    run(trainer_in(tmp_path / "now", features), features)
    later = trainer_in(tmp_path / "later", features)
    later.most_unwritten = 2  # as on a GPU, where it is 1
    written = []
    save = later.save

    def save_and_count() -> None:
        save()
        written.append(len(steps_of(tmp_path / "later")))

    later.save = save_and_count
    run(later, features)
    assert written == [2, 4, 5]
    assert metrics(tmp_path / "later") == metrics(tmp_path / "now")


def test_the_share_of_time_spent_waiting_for_data_is_logged(
    tmp_path, features, monkeypatch, caplog
):
    monkeypatch.setattr(trainer_module, "LOG_EVERY", 2)
    trainer = trainer_in(tmp_path, features)
    trainer.step_began -= 8.0  # a step that took 8 s
    for waited in (2.0, 0.0):
        stats = {"loss": torch.tensor(1.0), "cross_entropy": torch.tensor(1.0)}
        trainer.add(stats | {"llm_tokens": torch.tensor(7)}, torch.tensor(3))
        with caplog.at_level("INFO"):
            trainer.end_step(0.5, waited)
    assert "waiting for data 25.0 %" in caplog.text or "waiting for data 24.9 %" in caplog.text
    assert [m["step"] for m in metrics(tmp_path)] == [1, 2, 2]
    assert metrics(tmp_path)[2]["data_wait"] == pytest.approx(0.25, abs=0.01)


def test_devices_share_the_validation_batches(tmp_path, features, monkeypatch):
    def batches_of(rank: int, zero_stage: int) -> tuple[list[tuple[str, ...]], int]:
        monkeypatch.setattr(trainer_module.dist, "get_rank", lambda: rank)
        monkeypatch.setattr(trainer_module.dist, "get_world_size", lambda: 3)
        monkeypatch.setattr(Engine, "zero_optimization_stage", lambda _: zero_stage)
        (tmp_path / f"{rank}").mkdir(exist_ok=True)
        trainer = trainer_in(tmp_path / f"{rank}", features, max_frames=40, data_workers="0")
        found = [tuple(batch["utterances"]) for batch in trainer.valid]
        return found, trainer.num_valid_batches

    own = [batches_of(rank, 0)[0] for rank in range(3)]
    assert sorted(u for batches in own for b in batches for u in b) == features["valid"].utterances
    assert [len(batches) for batches in own] == [2, 1, 1]
    # ZeRO 3 wants as many passes of each device; what is read twice is counted once.
    filled = [batches_of(rank, 3) for rank in range(3)]
    assert [len(batches) for batches, _ in filled] == [2, 2, 2]
    assert [batches[:n] for batches, n in filled] == own


def test_a_step_reads_nothing_back_from_the_device(features, process_group, monkeypatch):
    """Tensors on the device "meta" have no values: reading one is an error.

    transformers reads one for each pass of the LLM, to see if sequences are packed.
    """
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda _: None)
    monkeypatch.setattr(trainer_module.dist, "all_reduce", lambda _: None)
    meta = torch.device("meta")
    model = baby_model(frame_dims={"audio": 6, "video": 5}).to(meta).train()
    data = features["train"]
    picks = [Pick(0), Pick(1, audio_kept=False)]
    (batch,) = ReadAhead(data, [(picks, ["a4_v2", "a16_v5"])], "0", meta)
    tokens = total(data.num_targets(picks), meta)
    loss, stats, weight = model(**batch)
    (loss * (weight / tokens).float()).backward()
    llm_tokens = stats.pop("llm_tokens")
    names = names_of_stats(model.scales)
    sums = sums_over_devices([(stats, weight)], names, meta, [llm_tokens, 0.5, True])
    assert sums.device == meta and len(sums) == 2 * len(names) + 3


class Diverging(Engine):
    """From a batch on, the loss or a gradient is not finite."""

    def __init__(self, engine: Engine, batch: int, spoiled: str):
        super().__init__(engine.module)
        self.at, self.spoiled = batch, spoiled

    def forward(self, **batch):
        loss, stats, weight = super().forward(**batch)
        if self.training and self.num_batches == self.at:
            self.utterances = batch["utterances"]
            if self.spoiled == "loss":
                loss = loss * math.nan
                stats["loss"] = loss.detach()
        return loss, stats, weight

    def backward(self, loss: torch.Tensor) -> None:
        super().backward(loss)
        if self.training and self.num_batches == self.at and self.spoiled == "gradient":
            next(iter(self.module.trained().values())).grad.fill_(math.inf)


@pytest.mark.parametrize("most_unwritten", [0, 1])
@pytest.mark.parametrize("batch", [4, 5])
def test_a_loss_that_is_not_finite_stops_the_run_before_anything_is_saved(
    tmp_path, features, batch, most_unwritten, refused
):
    trainer = trainer_in(tmp_path, features, data_workers="0")
    trainer.engine = engine = Diverging(trainer.engine, batch, "loss")
    trainer.most_unwritten = most_unwritten  # 1 on a GPU, which is asked a step later
    with refused(
        f"a loss that is not finite, batch {batch}",
        r"step 3: the loss is not finite in the batch of s\d",
    ) as e:
        run(trainer, features)
    assert "checkpoints/step_2, and --resume continues from it" in str(e.value)
    assert (tmp_path / "not_finite.txt").read_text().split() == engine.utterances
    assert [p.name for p in checkpoint.steps(tmp_path)] == ["step_2"]
    assert steps_of(tmp_path) == [1, 2]
    assert saved_states.newest_whole(tmp_path, 1) == "step_2"


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_is_saved(
    tmp_path, features, refused
):
    trainer = trainer_in(tmp_path, features, valid_every=100)
    trainer.engine = Diverging(trainer.engine, 7, "gradient")  # the last one before step 4 is saved
    with refused(
        "a gradient that is not finite", r"step 4: the weights .* are not finite, so .*step_4 is"
    ):
        run(trainer, features)
    assert [p.name for p in checkpoint.steps(tmp_path)] == ["step_2"]


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path, features, refused):
    trainer = trainer_in(tmp_path, features)
    with torch.no_grad():
        next(iter(trainer.engine.module.trained().values())).fill_(math.nan)
    with refused(
        "a validation loss that is not finite", "step 0: the validation loss is nan: lower"
    ):
        trainer.validate()
    assert not (tmp_path / "best").exists()


def test_a_line_that_was_cut_off_does_not_keep_a_run_from_going_on(tmp_path, features):
    trainer_in(tmp_path, features).save()
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "a": 1}\n{"step": 1}\n{"ste')
    trainer_in(tmp_path, features).resume("step_0")
    assert metrics(tmp_path) == [{"step": 0, "a": 1}]
