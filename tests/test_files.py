"""Files are written whole, and folders remember what they were made from."""

import os

import pytest

from mome import files


def test_a_folder_is_up_to_date_for_its_own_inputs_alone(tmp_path):
    inputs = {"rate": 4, "scp": "abc", "snrs": [0.0, 5.0]}
    assert not files.up_to_date(tmp_path, inputs)
    files.write_stamp(tmp_path, inputs)
    assert files.up_to_date(tmp_path, inputs)
    assert not files.up_to_date(tmp_path, inputs | {"rate": 5})
    assert files.changed_inputs(tmp_path, inputs | {"rate": 5, "new": 1}) == ["new", "rate"]
    files.clear_stamp(tmp_path)
    assert not files.up_to_date(tmp_path, inputs)


def test_a_digest_follows_content_for_small_files(tmp_path):
    path = tmp_path / "text"
    path.write_text("a")
    before = files.digest(path)
    os.utime(path, (1, 1))
    assert files.digest(path) == before
    path.write_text("b")
    assert files.digest(path) != before
    assert files.digest(tmp_path / "none") == "missing"


def test_a_digest_of_a_folder_follows_names_and_contents_but_not_stamps(tmp_path):
    (tmp_path / "a").write_text("1")
    before = files.digest(tmp_path)
    files.write_stamp(tmp_path, {})
    assert files.digest(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.digest(tmp_path) != before


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "text"
    with files.atomic_write(path) as tmp_path_of_it:
        tmp_path_of_it.write_text("a")
        assert not path.exists()
    assert path.read_text() == "a"
    with pytest.raises(RuntimeError), files.atomic_write(path) as tmp_path_of_it:
        tmp_path_of_it.write_text("b")
        raise RuntimeError
    assert path.read_text() == "a"
    assert [p.name for p in path.parent.iterdir()] == ["text"]
