import os

from mome import stamp


def test_a_folder_is_fresh_for_its_own_inputs_alone(tmp_path):
    inputs = {"rate": 4, "scp": "abc", "snrs": [0.0, 5.0]}
    assert not stamp.fresh(tmp_path, inputs)
    stamp.write(tmp_path, inputs)
    assert stamp.fresh(tmp_path, inputs)
    assert not stamp.fresh(tmp_path, inputs | {"rate": 5})
    assert stamp.changed(tmp_path, inputs | {"rate": 5, "new": 1}) == ["new", "rate"]
    stamp.clear(tmp_path)
    assert not stamp.fresh(tmp_path, inputs)


def test_a_digest_follows_content_for_small_files(tmp_path):
    path = tmp_path / "text"
    path.write_text("a")
    before = stamp.digest(path)
    os.utime(path, (1, 1))
    assert stamp.digest(path) == before
    path.write_text("b")
    assert stamp.digest(path) != before
    assert stamp.digest(tmp_path / "none") == "missing"


def test_a_digest_of_a_folder_follows_names_and_contents_but_not_stamps(tmp_path):
    (tmp_path / "a").write_text("1")
    before = stamp.digest(tmp_path)
    stamp.write(tmp_path, {})
    assert stamp.digest(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert stamp.digest(tmp_path) != before
