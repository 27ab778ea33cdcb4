"""The download of GRID, from a server on this machine with every fault of a real one."""

import hashlib
import http.server
import io
import json
import re
import sys
import threading
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import fetch_grid


def archive(*names: str) -> bytes:
    """A zip of files whose content is random and thus as large in the archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, hashlib.sha512(name.encode()).digest() * 50)
    return out.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves archives and their record; counts requests and breaks off as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "alignments.zip": archive("alignments/s1/bbaf2n.align", "__MACOSX/s1/._x.align"),
            "s1.zip": archive("s1/bbaf2n.mpg", "s1/../../evil.mpg", "s1/Thumbs.db"),
            "s2.zip": archive("s2/lbax4n.mpg"),
        }
        self.sums = {name: hashlib.md5(data).hexdigest() for name, data in self.files.items()}
        self.requests: list[tuple[str, str]] = []  # name and range
        self.breaks = 0  # answers that end after 1,000 bytes
        self.statuses: list[int] = []  # of the next answers, if not 200
        self.ranges = True
        self.url = f"http://127.0.0.1:{self.server_port}/files"
        self.record = f"http://127.0.0.1:{self.server_port}/record"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, name = self.server, self.path.split("/")[-1].split("?")[0]
        if name == "record":
            rows = [
                {"key": key, "size": len(data), "checksum": f"md5:{server.sums[key]}"}
                for key, data in server.files.items()
            ]
            self.answer(200, json.dumps({"files": rows}).encode())
            return
        asked = self.headers.get("Range", "")
        server.requests.append((name, asked))
        if server.statuses:
            self.answer(server.statuses.pop(0), b"")
            return
        data = server.files.get(name)
        if data is None:
            self.answer(404, b"")
            return
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if first >= len(data):
            self.answer(416, b"")
            return
        self.answer(206 if asked and server.ranges else 200, data, first)

    def answer(self, status: int, data: bytes, first: int = 0):
        self.send_response(status)
        body = data[first:]
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.server.breaks and "zip" in self.path:
            self.server.breaks -= 1
            body = body[:1000]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch_grid.time, "sleep", lambda _: None)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(server: Server, out_dir: Path, *options: str) -> None:
    only = [] if "--only" in options else ["--only", *server.files]
    fetch_grid.main([str(out_dir), "--url", server.url, "--record", server.record, *only, *options])


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


WHOLE = {"alignments/s1/bbaf2n.align", "s1/bbaf2n.mpg", "s1/evil.mpg", "s2/lbax4n.mpg"}


def test_it_leaves_the_layout_that_the_reader_expects_and_nothing_else(server, tmp_path):
    fetch(server, tmp_path / "grid")
    assert files_in(tmp_path) == {f"grid/{name}" for name in WHOLE}
    num = len(server.requests)
    fetch(server, tmp_path / "grid")
    assert len(server.requests) == num == 3  # the second run fetched nothing


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.breaks = 2
    fetch(server, tmp_path, "--only", "s2.zip")
    assert server.requests == [("s2.zip", ""), ("s2.zip", "bytes=1000-"), ("s2.zip", "bytes=2000-")]
    assert files_in(tmp_path) == {"s2/lbax4n.mpg"}


def test_a_later_run_goes_on_where_one_was_stopped(server, tmp_path):
    server.breaks = 1
    with pytest.raises(ValueError, match=r"the connection ended at 1,000 of .* Run this again"):
        fetch(server, tmp_path, "--only", "s1.zip", "--tries", "1")
    assert (tmp_path / ".s1.zip.part").stat().st_size == 1000
    server.statuses = [503]  # does not lose what is there
    fetch(server, tmp_path, "--only", "s1.zip")
    assert server.requests[1:] == [("s1.zip", "bytes=1000-")] * 2
    assert files_in(tmp_path) == {"s1/bbaf2n.mpg", "s1/evil.mpg"}


def test_a_server_without_ranges_is_asked_from_the_start(server, tmp_path):
    server.breaks, server.ranges = 1, False
    fetch(server, tmp_path, "--only", "s2.zip")
    assert files_in(tmp_path) == {"s2/lbax4n.mpg"}


@pytest.mark.parametrize("size", ["same", "longer"])
def test_an_archive_with_another_sum_is_fetched_again_and_never_unpacked(server, tmp_path, size):
    other = bytearray(server.files["s2.zip"])
    other[70] ^= 1
    part = tmp_path / ".s2.zip.part"
    part.write_bytes(bytes(other) + (b"x" if size == "longer" else b""))
    fetch(server, tmp_path, "--only", "s2.zip")  # what was there is thrown away
    assert files_in(tmp_path) == {"s2/lbax4n.mpg"}
    server.files["s1.zip"] = bytes(other)
    server.sums["s1.zip"] = "0" * 32
    with pytest.raises(ValueError, match=r"its md5 is .*, but the record says 0000"):
        fetch(server, tmp_path, "--only", "s1.zip", "--tries", "2")
    assert not (tmp_path / "s1").exists()


def test_without_a_record_the_archive_itself_is_checked(server, tmp_path, caplog):
    damaged = bytearray(server.files["s1.zip"])
    damaged[70] ^= 1
    server.files["s1.zip"] = bytes(damaged)
    server.record += "/none"
    with pytest.raises(ValueError, match="it is no whole zip archive"):
        fetch(server, tmp_path, "--only", "s1.zip", "--tries", "2")
    assert "gives no sums" in caplog.text
    fetch(server, tmp_path, "--only", "s2.zip", "--record", "")
    assert files_in(tmp_path) == {"s2/lbax4n.mpg"}


def test_what_is_not_there_is_said_at_once_with_another_way(server, tmp_path):
    del server.files["s2.zip"]
    with pytest.raises(ValueError, match=r"s2\.zip\?download=1: Not Found.*unpack it as .*/s2$"):
        fetch(server, tmp_path, "--only", "s2.zip")
    assert len(server.requests) == 1
    with pytest.raises(SystemExit):
        fetch(server, tmp_path, "--only", "s21.zip")


def test_a_small_disk_is_found_before_the_first_byte(server, tmp_path, monkeypatch):
    usage = fetch_grid.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetch_grid.shutil, "disk_usage", lambda _: usage._replace(free=5000))
    with pytest.raises(ValueError, match=r"has 0\.0 GB free, but"):
        fetch(server, tmp_path)
    assert server.requests == []
