"""Files are written whole, and folders remember what they were made from."""

import errno
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


def test_an_error_of_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as error, files.atomic_write(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as the system does, without a name
    assert error.value.filename == str(tmp_path / "x")


def test_text_that_is_not_utf_8_is_named_with_its_line_and_byte():
    assert files.decode(b"\xef\xbb\xbfa\xc3\xa9\n", "x") == "a\u00e9\n"
    with pytest.raises(ValueError, match=r"^x, line 3: byte 0xe9 is not UTF-8; save it as UTF-8$"):
        files.decode(b"a\nb\nc\xe9\n", "x")


@pytest.mark.parametrize(
    "text, message",
    [
        (b"{", r"x\.json, line 1: this is not JSON: Expecting property name"),
        (b'{"a": 1,\n"b"}', r"x\.json, line 2: this is not JSON: Expecting ':' delimiter"),
        (b"[1]", r"x\.json must hold values by name, such as \{\}, and holds a list"),
        (b'{"a": "\xe9"}', r"x\.json, line 1: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_file_of_another_form_than_a_json_object_is_one_line(tmp_path, text, message, refused):
    (tmp_path / "x.json").write_bytes(text)
    with refused(f"x.json: {text!r}", message):
        files.read_json_object(tmp_path / "x.json")
