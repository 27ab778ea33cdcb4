"""Feature archives."""

import errno
import io
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from mome.data import ark


@pytest.fixture
def items():
    rng = np.random.default_rng(0)
    lengths = {"s2-00001": 50, "s1-00002": 7, "s1-00001": 120}
    return [(u, rng.normal(size=(t, 16)).astype(np.float32)) for u, t in lengths.items()]


def test_what_is_written_is_read_back_to_two_bytes(tmp_path, items):
    counts = ark.write_ark(tmp_path / "audio.scp", items)
    assert counts == {u: len(x) for u, x in items}
    entries = ark.read_scp(tmp_path / "audio.scp")
    assert list(entries) == ["s1-00001", "s1-00002", "s2-00001"]
    for utterance, x in items:
        y = ark.load(entries[utterance], utterance)
        assert y.dtype == np.float32
        assert np.abs(x - y).max() <= (x.max() - x.min()) / 65535
    values = sum(x.size for _, x in items)
    assert (tmp_path / "audio.ark").stat().st_size < 2 * values + 100


def test_uncompressed_is_exact(tmp_path, items):
    ark.write_ark(tmp_path / "x.scp", items, compress=False)
    entries = ark.read_scp(tmp_path / "x.scp")
    assert all(np.array_equal(ark.load(entries[u]), x) for u, x in items)


def test_kaldiio_reads_our_archives(tmp_path, items):
    ark.write_ark(tmp_path / "x.scp", items)
    theirs, ours = kaldiio.load_scp(str(tmp_path / "x.scp")), ark.read_scp(tmp_path / "x.scp")
    assert all(np.array_equal(theirs[u], ark.load(ours[u])) for u, _ in items)


def test_paths_with_odd_characters(tmp_path, items):
    scp = tmp_path / "a [1]: b" / "x.scp"
    ark.write_ark(scp, items, compress=False)
    assert np.array_equal(ark.load(ark.read_scp(scp)["s1-00001"]), items[2][1])


def test_an_archive_cut_anywhere_is_an_error_that_names_the_utterance(tmp_path, items, refused):
    ark.write_ark(tmp_path / "x.scp", items)
    entries = ark.read_scp(tmp_path / "x.scp")
    whole = (tmp_path / "x.ark").read_bytes()
    start = int(entries["s1-00001"].rpartition(":")[2])
    cuts = [*range(start, start + 30), (start + len(whole)) // 2, len(whole) - 1]
    for cut in cuts:
        (tmp_path / "x.ark").write_bytes(whole[:cut])
        with refused(
            f"cut at byte {cut - start} of an entry",
            r"x\.ark is truncated .* s1-00001 .* run the stage",
        ):
            ark.load(entries["s1-00001"], "s1-00001")
        ark.load(entries["s2-00001"], "s2-00001")  # the ones before are still there


def test_an_entry_into_another_archive_is_an_error(tmp_path, items, refused):
    ark.write_ark(tmp_path / "x.scp", items)
    for offset in (0, 11, 500, 10**6):
        with refused(f"an entry at byte {offset} of another archive", "truncated or corrupt"):
            ark.load(f"{tmp_path / 'x.ark'}:{offset}", "s1-00001")
    with refused("the archive is gone", "which holds s9-1, does not exist", FileNotFoundError):
        ark.load(f"{tmp_path / 'y.ark'}:11", "s9-1")
    with refused("an entry without an offset", "not of the form"):
        ark.load("x.ark", "s9-1")


@pytest.mark.parametrize("x", [np.zeros((0, 4)), np.zeros(4), np.full((2, 4), np.nan)])
def test_empty_and_broken_matrices_are_refused(tmp_path, x, refused):
    with refused(f"frames of shape {x.shape} to be written", r"features of s1-00001 .*x\.ark have"):
        ark.write_ark(tmp_path / "x.scp", [("s1-00001", x)])
    assert list(tmp_path.iterdir()) == []


def test_an_utterance_comes_once(tmp_path, items, refused):
    with refused("an utterance that comes twice", "s2-00001 comes twice"):
        ark.write_ark(tmp_path / "x.scp", [*items, items[0]])


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
def test_a_full_disk_leaves_no_half_file(tmp_path, items, monkeypatch, suffix, refused):
    class FullDisk(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 50:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def open_on_full_disk(path, mode="r", *args, **kwargs):
        opened.append(path.name)
        if path.suffix != ".tmp" or suffix not in path.suffixes:
            return real_open(path, mode, *args, **kwargs)
        raw = FullDisk(path, mode.replace("b", ""))
        return raw if "b" in mode else io.TextIOWrapper(raw, "utf-8", write_through=True)

    real_open, opened = Path.open, []
    ark.write_ark(tmp_path / "x.scp", items[:1])
    before = (tmp_path / "x.ark").read_bytes()
    monkeypatch.setattr(Path, "open", open_on_full_disk)
    monkeypatch.setattr(Path, "write_text", lambda self, text, encoding: self.open("w").write(text))
    with refused(f"a full disk, {suffix}", "No space left", OSError):
        ark.write_ark(tmp_path / "x.scp", items)
    monkeypatch.undo()
    assert suffix in opened[-1] and "x.ark" not in opened and "x.scp" not in opened
    left = {p.name for p in tmp_path.iterdir()}
    if suffix == ".ark":  # the old pair is untouched
        assert left == {"x.ark", "x.scp"} and (tmp_path / "x.ark").read_bytes() == before
    else:  # a whole ark, and no index that would point into it wrongly
        assert left == {"x.ark"}


def test_a_missing_or_broken_index_says_so(tmp_path, refused):
    with refused("no table", r"x\.scp is missing: run", FileNotFoundError):
        ark.read_scp(tmp_path / "x.scp")
    (tmp_path / "x.scp").write_text("a x:1\na x:2\n")
    with refused("a key twice", r"x\.scp, line 2: a is on line 1 too"):
        ark.read_scp(tmp_path / "x.scp")
