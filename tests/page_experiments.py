"""Shared by the tests of the report page: experiments whose texts would be HTML."""

from conftest import REFERENCES, decoded_experiment

from mome.scoring import sets
from mome.scoring.page.reading import read
from mome.scoring.page.scored import Scored

ATTACK = "<script>window.attacked=true</script>"
HYPS = {
    ("a4_v2", "test"): REFERENCES | {"s1-a": f"the {ATTACK} sat down"},
    ("a16_v5", "test"): REFERENCES | {"s1-a": "the dog", "s1-b": "on mat"},
    ("a4_v2", "test_babble_-5"): dict.fromkeys(REFERENCES, "never so"),
    ("a16_v5", "test_babble_-5"): dict.fromkeys(REFERENCES, ""),
    ("a4_v2", "test_babble_-5_zeroed_video"): dict.fromkeys(REFERENCES, ""),
}


def scored(root, tag: str, hyps: dict = HYPS) -> Scored:
    exp_dir = decoded_experiment(root, tag, hyps)
    sets.score_experiment(exp_dir, root / "data", "")
    return read(exp_dir, root / "data", root / "mouths")
