"""Shared by the tests of training: a process group of one, and a set of features."""

from pathlib import Path

import pytest
import torch.distributed as dist
from conftest import WordTokenizer, baby_recipe

from mome.config import EncodersConfig
from mome.data.dataset import FeatureDataset
from mome.data.features import open_source
from mome.prompt import text_ids


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Path:
    """A folder with features of a few utterances."""
    return baby_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture
def features(recipe) -> dict[str, FeatureDataset]:
    """The sets "train" and "valid"."""

    def open_set(name: str) -> FeatureDataset:
        streams, set_dir = ["audio", "video"], recipe / "dump/feats" / name
        source = open_source(set_dir, None, streams, EncodersConfig(), "cpu")
        return FeatureDataset(source, lambda text: text_ids(WordTokenizer(), text))

    return {name: open_set(name) for name in ("train", "valid")}


@pytest.fixture
def process_group(tmp_path):
    """torch.distributed with this process alone."""
    dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
