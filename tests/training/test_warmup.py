"""The warm-up: it teaches the projectors alone, repeats itself, and is done once for a run."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from conftest import WordTokenizer, baby_model

from mome import checkpoint
from mome.config import Config, EncodersConfig, TrainConfig, WarmupConfig
from mome.data.dataset import FeatureDataset
from mome.data.features import open_source
from mome.prompt import text_ids
from mome.training import warmup
from mome.training.warmup import prepare_projectors, warm_up, warmup_draws

DIMS = {"audio": 6, "video": 5}
CPU = torch.device("cpu")


def model_for(data, **config):
    torch.manual_seed(1)
    model = baby_model(frame_dims=DIMS, **config)
    model.add_alignment({i for ids in data.ids.values() for i in ids}, weight=0.0)
    return model


def settings(num_steps: int = 40, **options) -> TrainConfig:
    return TrainConfig(ctc_warmup=WarmupConfig(num_steps=num_steps, batch_size=8, **options))


def test_it_lowers_the_ctc_loss_and_changes_only_projectors_and_alignment(features, process_group):
    data = features["train"]
    model, batch = model_for(data), data.collate(list(range(len(data))))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = model.ctc_loss(**batch).item()
    warm_up(model, data, settings(), CPU)
    assert model.ctc_loss(**batch).item() < loss - 1
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert {name.split(".")[0] for name in changed} == {"projectors", "alignment"}
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_the_same_seed_gives_the_same_weights_and_another_does_not(features, process_group):
    def weights(seed: int) -> torch.Tensor:
        model = model_for(features["train"])
        cfg = TrainConfig(seed=seed, ctc_warmup=WarmupConfig(num_steps=3, batch_size=8))
        warm_up(model, features["train"], cfg, CPU)
        return model.projectors["audio"].out.weight

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


def test_two_processes_that_share_the_batches_find_what_one_finds(recipe, tmp_path):
    processes.spawn(work, (2, recipe, tmp_path), nprocs=2)
    processes.spawn(work, (1, recipe, tmp_path), nprocs=1)
    alone = torch.load(tmp_path / "0 of 1")
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank} of 2"), alone)


def test_processes_share_a_batch_by_length(features):
    data, cfg = features["train"], settings(num_steps=20)
    alone, first, second = (
        [{pick.index for pick in picks} for picks, _ in warmup_draws(data, ["a4_v2"], cfg, *place)]
        for place in ((0, 1), (0, 2), (1, 2))
    )
    for batch, one, other in zip(alone, first, second, strict=True):
        assert one | other == batch and not one & other
        lengths = [data.length(i) for i in batch]
        apart = sum(map(data.length, other)) - sum(map(data.length, one))
        assert 0 <= apart <= max(lengths) - min(lengths)


def work(rank: int, world: int, recipe: Path, folder: Path) -> None:
    """A warm-up of five steps in one of the processes; saves the projectors."""
    meeting = f"file://{folder}/meeting{world}"
    dist.init_process_group("gloo", meeting, rank=rank, world_size=world)
    source = open_source(
        recipe / "dump/feats/train", None, ["audio", "video"], EncodersConfig(), "cpu"
    )
    data = FeatureDataset(source, lambda text: text_ids(WordTokenizer(), text))
    model = model_for(data)
    warm_up(model, data, settings(num_steps=5, lr=1e-3), CPU)
    torch.save(dict(model.projectors.state_dict()), folder / f"{rank} of {world}")
    dist.barrier()
    dist.destroy_process_group()


def test_a_run_warms_up_once_and_reads_the_result(features, process_group, tmp_path, monkeypatch):
    data, cfg = features["train"], Config(train=settings(num_steps=3))
    first, second = model_for(data), model_for(data)
    prepare_projectors(first, data, cfg, tmp_path, {}, CPU)
    monkeypatch.setattr(warmup, "warm_up", lambda *_: pytest.fail("it warms up again"))
    prepare_projectors(second, data, cfg, tmp_path, {}, CPU)
    saved = checkpoint.read(tmp_path / "warmup")
    assert saved.keys() == second.trained().keys()
    assert all(torch.equal(p, saved[name]) for name, p in second.trained().items())


def test_another_model_can_start_from_its_result(features, process_group, tmp_path):
    data = features["train"]
    warm = model_for(data)
    checkpoint.save(tmp_path / "warmup", warm.trained(), Config(), {})
    other = model_for(data, adapter="plain", plain_dim=4)
    with torch.no_grad():
        for parameter in other.trained().values():
            parameter.add_(1.0)
    before = {name: p.detach().clone() for name, p in other.trained().items()}
    cfg = Config(train=settings(num_steps=0, start_from=str(tmp_path / "warmup")))
    prepare_projectors(other, data, cfg, tmp_path / "x", {}, CPU)
    for name, parameter in other.trained().items():
        copied = name.startswith(("projectors.", "prompt.", "alignment."))
        assert torch.equal(parameter, warm.trained()[name] if copied else before[name]), name
