"""Names of sets: what they say, and their order."""

import pytest

from mome.data.set_name import SetName


@pytest.mark.parametrize(
    "name, parts",
    [
        ("train", ("train", None, None, "own")),
        ("test_babble_0", ("test", "babble", 0.0, "own")),
        ("test_speech_shaped_-7.5", ("test", "speech_shaped", -7.5, "own")),
        ("test_free-sound_12.5", ("test", "free-sound", 12.5, "own")),
        ("test_factory_1_5", ("test", "factory_1", 5.0, "own")),
        ("test_zeroed_video", ("test", None, None, "zeroed")),
        ("test_babble_-5_other_video", ("test", "babble", -5.0, "other")),
    ],
)
def test_a_name_is_read_and_written_back(name, parts):
    found = SetName.parse(name)
    assert (found.base, found.noise, found.snr, found.video) == parts
    assert str(found) == name


def test_a_name_of_another_form_is_kept_as_it_is():
    found = SetName.parse("dump/feats/My-Set.2")
    assert str(found) == "My-Set.2" and found.noise is None and not found.is_test


def test_only_test_sets_are_test_sets():
    tests = ["test", "data/test_babble_0", "test_zeroed_video", "test_mine"]
    assert all(SetName.parse(name).is_test for name in tests)
    assert not any(SetName.parse(name).is_test for name in ("train", "valid", "testing"))


def test_sets_in_noise_are_named_with_the_shortest_number():
    assert str(SetName("test").in_noise("babble", 5.0)) == "test_babble_5"
    assert str(SetName("test").in_noise("babble", -2.5).with_video("other")) == (
        "test_babble_-2.5_other_video"
    )


def test_clean_comes_first_then_noises_by_falling_snr():
    ordered = ["test", "test_other_video", "test_zeroed_video", "test_babble_5", "test_babble_0"]
    ordered += ["test_babble_0_zeroed_video", "test_babble_-5", "test_pink_5", "valid", "Odd"]
    assert sorted(reversed(ordered), key=lambda n: SetName.parse(n).sort_key) == ordered
