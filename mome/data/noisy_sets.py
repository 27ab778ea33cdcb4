"""Stage 1, noise: copies of a test set in noise, each mixed from a written manifest (noise.tsv).

The noise is a track that is made here, or the user's sound files. An utterance meets the same piece
of noise at every SNR:

    noisy = scale * (speech + gain * noise[offset : offset + length])

The scale is 1, or less where the mix would overflow 16 bits; it does not change the SNR.
"""

import csv
import difflib
import functools
import glob
import io
import logging
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mome import files
from mome.data import SAMPLE_RATE, audio, clip_jobs, datadir, noise, validation
from mome.data.progress import Progress
from mome.data.set_name import SetName

COLUMNS = ("utterance", "file", "offset", "snr", "gain", "scale")
MAX_SAMPLE = 0.99  # of a mix; louder ones are scaled down
TRIES = 20  # to find a piece of a noise file that is not silent
SHOWN = 20  # names of noises listed in one message
VERSION = 2  # of the sets: raise it when the same inputs would give others
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Which set is copied, where to, and where the noise comes from.

    Attributes:
        data_dir: the clean set.
        out_prefix: `data/test` gives `data/test_<noise>_<snr>`.
        noisy_dir: the audio is written to `noisy_dir/<set>/`.
        noise_dir: folder with sound files of the user, or None to make the noise.
        noise_data: data directory whose speakers made noise consists of.
        num_voices: speakers that talk at once in babble.
        noise_seconds: length of a track of made noise.
        seed: of the made noise and of the choice of pieces.
    """

    data_dir: Path
    out_prefix: Path
    noisy_dir: Path
    noise_dir: Path | None = None
    noise_data: Path | None = None
    num_voices: int = 30
    noise_seconds: float = 120
    seed: int = 0


def write_noisy_sets(noises: list[str], snrs: list[float], options: Options) -> None:
    """Write a copy of the set for each noise and each SNR in dB.

    Raises FileNotFoundError when a noise is not in `noise_dir`, ValueError when speech or noise is
    silent or no speaker is left to make noise of.
    """
    data = datadir.read(options.data_dir)
    sounds = find_files(options.noise_dir, noises) if options.noise_dir else {}
    for name in noises:
        _write_sets(name, snrs, sounds.get(name), data, options)


def _write_sets(
    name: str,
    snrs: list[float],
    sounds: list[Path] | None,
    data: datadir.DataDir,
    options: Options,
) -> None:
    """The sets of one noise, from the user's sound files or made; those up to date are kept."""
    inputs = stamp_inputs(name, sounds, options)
    pieces: dict[str, tuple[Path, int]] = {}
    for snr in snrs:
        set_name = str(SetName(options.out_prefix.name).in_noise(name, snr))
        out_dir = options.out_prefix.with_name(set_name)
        wav = {u: str(options.noisy_dir / set_name / f"{u}.wav") for u in data.utterances}
        complete = all(Path(path).exists() for path in wav.values())
        if files.up_to_date(out_dir, {**inputs, "snr": snr}) and complete:
            log.info("%s is up to date", out_dir)
            continue
        files.clear_stamp(out_dir)
        if not pieces:
            if sounds:
                log.info(f"{name}: {len(sounds)} sound files of {options.noise_dir}")
            tracks = sounds or [make_track(name, data, options)]
            pieces = choose_pieces(data, tracks, options.seed)
        write_manifest(out_dir / "noise.tsv", plan(data, pieces, snr))
        with Progress(set_name, len(wav)) as progress:
            for row in read_manifest(out_dir / "noise.tsv"):
                utterance = row["utterance"]
                audio.write(wav[utterance], mix(row, audio.read(data.wav[utterance])))
                progress.update()
        datadir.write(out_dir, datadir.DataDir(**{**vars(data), "wav": wav}))
        validation.validate(out_dir)
        files.write_stamp(out_dir, {**inputs, "snr": snr})
        log.info(f"{out_dir}: {len(wav)} utterances at {snr:g} dB")


def stamp_inputs(name: str, sounds: list[Path] | None, options: Options) -> dict:
    """What the sets of a noise depend on, except the SNR."""
    tables = ("wav.scp", "video.scp", "text", "utt2spk", "phones", files.STAMP)
    inputs: dict = {
        "version": VERSION,
        "data": {table: files.digest(options.data_dir / table) for table in tables},
        "noise": name,
        "noise_dir": options.noise_dir,
        "noisy_dir": options.noisy_dir,
        "seed": options.seed,
    }
    if sounds:
        inputs["files"] = {str(path): clip_jobs.mark(path) for path in sounds}
    else:
        inputs |= {"num_voices": options.num_voices, "noise_seconds": options.noise_seconds}
    if options.noise_data:
        inputs["voices"] = [files.digest(options.noise_data / n) for n in ("wav.scp", files.STAMP)]
    return inputs


# ---- the user's noise ---------------------------------------------------------------------------


def find_files(noise_dir: Path, names: list[str]) -> dict[str, list[Path]]:
    """The user's sound files for each of these noises.

    Raises FileNotFoundError when the folder has no sound files, or none for one of the noises.
    """
    known = categories(noise_dir)
    for name in names:
        if plain(name) in known:
            continue
        near = " or ".join(difflib.get_close_matches(plain(name), known, n=2))
        near = f"; did you mean {near}?" if near else ","
        found = sorted(known, key=lambda k: (-len(known[k]), k))  # those with many files first
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        made = f"; to have {name} made, leave out --noise_dir" if name in noise.MADE else ""
        raise FileNotFoundError(
            f"{noise_dir.resolve()} has no noise '{name}'{near} it has"
            f" {', '.join(found[:SHOWN])}{more}: give one of these as --noise (in a recipe,"
            f" --test_noise){made}"
        )
    return {name: known[plain(name)] for name in names}


def categories(noise_dir: Path) -> dict[str, list[Path]]:
    """The sound files below a folder, by the names that can be asked for.

    A name is that of a folder (all files below it), else that of a file, else that of files which
    differ in a number at the end; "all" is all files.
    """
    if not noise_dir.is_dir():
        raise FileNotFoundError(f"{noise_dir.resolve()} is not a folder: give that of your noise")
    inside = sorted(map(Path, glob.glob("**/*", root_dir=noise_dir, recursive=True)))
    found = [p for p in inside if p.suffix.lower() in audio.SOUND_FILES]
    if not found:
        kinds = ", ".join(sorted(audio.SOUND_FILES))
        raise FileNotFoundError(f"{noise_dir.resolve()} holds no sound file ({kinds})")
    folders, stems, numbered = defaultdict(list), defaultdict(list), defaultdict(list)
    for path in found:
        stem = plain(path.stem)
        for folder in {plain(part) for part in path.parent.parts}:
            folders[folder].append(noise_dir / path)
        stems[stem].append(noise_dir / path)
        numbered[re.sub(r"(_?\d+)+$", "", stem)].append(noise_dir / path)
    series = {name: paths for name, paths in numbered.items() if name and len(paths) > 1}
    return {"all": [noise_dir / path for path in found], **series, **stems, **folders}


def plain(name: str) -> str:
    """`Free-Sound` and `free sound` -> `free_sound`."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


# ---- made noise ---------------------------------------------------------------------------------


def make_track(name: str, data: datadir.DataDir, options: Options) -> Path:
    """Write a track of made noise and return its path."""
    rng = np.random.default_rng([options.seed, zlib.crc32(name.encode())])
    length = round(options.noise_seconds * SAMPLE_RATE)
    track = noise.make(name, length, rng, _voices(data, options, length, rng))
    path = options.noisy_dir / "made" / f"{options.out_prefix.name}_{name}.wav"
    audio.write(path, 0.9 * track / np.abs(track).max())
    log.info(f"{path}: {length / SAMPLE_RATE:g} s of {name}")
    return path


def _voices(
    data: datadir.DataDir, options: Options, length: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """`num_voices` voices of `length` samples, each the joined utterances of one speaker.

    No speaker is in the set `data`. A speaker gives a second voice only when all gave one.
    """
    if options.noise_data is None:
        raise ValueError("this noise is made of speech: give --noise_data")
    others = datadir.read(options.noise_data)
    tested = set(data.utt2spk.values())
    speakers = [s for s in others.spk2utt if s not in tested]
    if not speakers:
        raise ValueError(
            f"all speakers of {options.noise_data} are in {options.data_dir}, too: give"
            " --noise_data a set of other speakers"
        )
    order = rng.permutation(len(speakers))
    for k in range(options.num_voices):
        utterances = others.spk2utt[speakers[order[k % len(order)]]]
        voice: list[np.ndarray] = []
        total = 0
        while total < length:
            for i in rng.permutation(len(utterances)):
                samples = audio.read(others.wav[utterances[i]])
                voice.append(samples / max(noise.power(samples) ** 0.5, 1e-6))
                total += len(samples)
        yield np.concatenate(voice)[:length]


# ---- pieces and manifests -----------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def _track(path: Path) -> np.ndarray:
    """The samples of a noise file; those of the last files are kept in memory."""
    return audio.read(path)


def choose_pieces(
    data: datadir.DataDir, tracks: list[Path], seed: int
) -> dict[str, tuple[Path, int]]:
    """Noise file and offset of each utterance; they do not depend on the rest of the set.

    Sorted by file, so that each file is read once when the audio is mixed. Raises ValueError when
    only silent pieces were found.
    """
    pieces = {}
    for utterance in data.utterances:
        length = len(audio.read(data.wav[utterance]))
        rng = np.random.default_rng([seed, zlib.crc32(utterance.encode())])
        for _ in range(TRIES):
            path = tracks[int(rng.integers(len(tracks)))]
            track = _track(path)
            offset = int(rng.integers(max(1, len(track) - length)))
            if noise.power(noise.segment(track, length, offset)) > 0:
                break
        else:
            raise ValueError(
                f"{path} and others are silent at all of {TRIES} random places: choose other noise"
            )
        pieces[utterance] = path, offset
    return dict(sorted(pieces.items(), key=lambda item: item[1][0]))


def plan(data: datadir.DataDir, pieces: dict[str, tuple[Path, int]], snr: float) -> list[dict]:
    """The rows of a manifest: the noise of each utterance, its gain, and the scale of the mix."""
    rows = []
    for utterance, (path, offset) in pieces.items():
        speech = audio.read(data.wav[utterance])
        piece = noise.segment(_track(path), len(speech), offset)
        try:
            gain = noise.gain_for(speech, piece, snr)
        except ValueError as error:
            raise ValueError(f"{utterance} ({data.wav[utterance]}): {error}") from None
        scale = min(1.0, MAX_SAMPLE / float(np.abs(speech + gain * piece).max()))
        values = (utterance, path, offset, f"{snr:g}", f"{gain:.9g}", f"{scale:.9g}")
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write_manifest(path: Path, rows: list[dict]) -> None:
    """Write noise.tsv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def read_manifest(path: Path) -> list[dict]:
    """The rows of noise.tsv, with numbers as int or float."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict] = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        row["offset"] = int(row["offset"])
        row.update({k: float(row[k]) for k in ("snr", "gain", "scale")})
    return rows


def mix(row: dict, speech: np.ndarray) -> np.ndarray:
    """The noisy utterance that a row of the manifest describes, float32 like `speech`."""
    piece = noise.segment(_track(Path(row["file"])), len(speech), row["offset"])
    return row["scale"] * (speech + row["gain"] * piece)
