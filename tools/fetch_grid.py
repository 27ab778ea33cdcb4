#!/usr/bin/env python3
"""Download the GRID corpus (CC BY 4.0, 16 GB): tools/fetch_grid.py OUT_DIR

Writes OUT_DIR/s1 ... s34 (videos, none of s21) and OUT_DIR/alignments. The archives come from
Zenodo, whose record gives the size and the md5 sum of each. A download that was cut short goes on
where it stopped; an archive is removed when its files are unpacked and whole. A second run fetches
what is missing.
"""

import argparse
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

URL = "https://zenodo.org/records/3625687/files"
RECORD = "https://zenodo.org/api/records/3625687"
ARCHIVES = ["alignments.zip", *(f"s{k}.zip" for k in range(1, 35) if k != 21)]
KEPT = {".mpg", ".align"}  # other files in the archives are not needed
PATIENCE_S = 60.0  # without an answer
CHUNK = 1 << 20  # bytes
LOST = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
log = logging.getLogger("fetch_grid")


@dataclass(frozen=True)
class Archive:
    """An archive of the record; size and md5 are None where the record does not give them."""

    name: str
    size: int | None = None
    md5: str | None = None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out_dir", type=Path, help="folder of the corpus")
    parser.add_argument("--url", default=URL, help=f"where the archives are (default: {URL})")
    parser.add_argument(
        "--record",
        default=RECORD,
        help="JSON of the record, with sizes and sums; '' to go without (default: Zenodo's)",
    )
    parser.add_argument("--tries", type=int, default=8, help="attempts for each archive")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="such as alignments.zip s1.zip")
    args = parser.parse_args(argv)
    names = args.only or ARCHIVES
    if unknown := sorted(set(names) - set(ARCHIVES)):
        parser.error(f"--only: GRID has no {unknown[0]}; it has {', '.join(ARCHIVES)}")
    missing = [name for name in names if not (args.out_dir / Path(name).stem).is_dir()]
    if not missing:
        log.info("%s is whole", args.out_dir)
        return
    args.out_dir.mkdir(parents=True, exist_ok=True)
    archives = read_record(args.record, missing)
    check_disk(args.out_dir, archives)
    for archive in archives:
        fetch(archive, args.url, args.out_dir, args.tries)


def read_record(url: str, names: list[str]) -> list[Archive]:
    """The archives of these names, with size and sum where the record can be read."""
    if not url:
        return [Archive(name) for name in names]
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            rows = {row["key"]: row for row in json.load(answer)["files"]}
        found = [
            Archive(name, int(rows[name]["size"]), rows[name]["checksum"].removeprefix("md5:"))
            for name in names
        ]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        log.warning(f"{url} gives no sums ({words(error)}): archives are checked by their own CRC")
        return [Archive(name) for name in names]
    return found


def check_disk(out_dir: Path, archives: list[Archive]) -> None:
    """Raise ValueError when the disk cannot hold what is missing, and one archive beside it."""
    sizes = [archive.size or 0 for archive in archives]
    needed, free = sum(sizes) + max(sizes), shutil.disk_usage(out_dir).free
    if needed > free:
        raise ValueError(
            f"{out_dir} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed: give a"
            " folder on a larger disk"
        )


def fetch(archive: Archive, url: str, out_dir: Path, tries: int) -> None:
    """Download, check and unpack one archive. Raises ValueError when it cannot be had."""
    part = out_dir / f".{archive.name}.part"
    address = f"{url.rstrip('/')}/{archive.name}?download=1"
    for attempt in range(1, tries + 1):
        try:
            download(address, part, archive)
            check(part, archive)
            unpack(part, out_dir / Path(archive.name).stem)
            log.info("%s is unpacked", archive.name)
            part.unlink()
            return
        except Damaged as error:
            part.unlink(missing_ok=True)  # from the start
            failure: Exception = error
        except LOST as error:
            failure = error
            if getattr(error, "code", 0) in (401, 403, 404, 410):
                break
        log.info(f"{archive.name}, attempt {attempt} of {tries}: {words(failure)}")
        if attempt < tries:
            time.sleep(min(2**attempt, 60))
    raise ValueError(
        f"{address}: {words(failure)}. Run this again later, which goes on where it stopped; or"
        f" download {archive.name} elsewhere (`lhotse download grid` is one way) and unpack it as"
        f" {out_dir}/{Path(archive.name).stem}"
    )


class Damaged(Exception):
    """A file that is whole but not what was expected."""


def words(error: Exception) -> str:
    """An error in words, without its number."""
    reason = getattr(error, "reason", None) or error
    strerror = getattr(reason, "strerror", None)
    return str(strerror or reason or type(error).__name__)


def download(address: str, part: Path, archive: Archive) -> None:
    """Fetch what `part` still lacks. Raises the errors of urllib and http, and Damaged."""
    have = part.stat().st_size if part.exists() else 0
    if archive.size is not None and have == archive.size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if archive.size is None:  # there is nothing after what we have
            return
        raise Damaged(f"it has {have:,} bytes, but the record says {archive.size:,}") from None
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        if answer.status == 206 and not (answer.headers["Content-Range"] or "").startswith(
            f"bytes {have}-"
        ):
            raise Damaged("the server sent another part than the one that was asked for")
        total = (have if answer.status == 206 else 0) + int(answer.headers["Content-Length"] or 0)
        log.info(f"{archive.name}: {total / 1e6:.1f} MB, of which {have / 1e6:.1f} are here")
        while block := answer.read(CHUNK):
            file.write(block)
    if part.stat().st_size < total:
        raise ConnectionError(f"the connection ended at {part.stat().st_size:,} of {total:,} bytes")


def check(part: Path, archive: Archive) -> None:
    """Raise Damaged when size or sum differ from those of the record."""
    size = part.stat().st_size
    if archive.size is not None and size != archive.size:
        raise Damaged(f"it has {size:,} bytes, but the record says {archive.size:,}")
    if archive.md5 is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != archive.md5:
        raise Damaged(f"its md5 is {found}, but the record says {archive.md5}")


def unpack(part: Path, folder: Path) -> None:
    """Unpack the videos of a speaker, or all alignments, into `folder`, whole or not at all.

    Only the last parts of the names in the archive count, so that nothing is written elsewhere:
    `a/b/x.mpg` becomes <folder>/x.mpg, and of alignments, `a/s5/x.align` <folder>/s5/x.align.
    Raises Damaged for an archive that cannot be read or holds none of these.
    """
    tmp = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir()
    try:
        with zipfile.ZipFile(part) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                if path.suffix.lower() not in KEPT or "__MACOSX" in path.parts:
                    continue
                speaker = path.parent.name
                into = tmp
                if folder.name == "alignments" and re.fullmatch(r"s\d+", speaker):
                    into = tmp / speaker
                into.mkdir(exist_ok=True)
                with archive.open(member) as source, (into / path.name).open("wb") as file:
                    shutil.copyfileobj(source, file)  # checks the CRC
        if not any(tmp.iterdir()):
            raise Damaged(f"it holds no {' or '.join(sorted(KEPT))} files")
        os.replace(tmp, folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise Damaged(f"it is no whole zip archive ({error})") from None
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    logging.basicConfig(
        format="%(asctime)s (%(module)s:%(lineno)d) %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        level=logging.INFO,
    )
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"tools/fetch_grid.py: error: {error}")
