"""Noisy copies of a test set: python -m mome.bin.add_noise data/test data/test --noise babble ...

Stage 1 of a recipe. Writes OUT_PREFIX_<noise>_<snr>/, a data directory like the clean one, for each
noise and SNR, and in it noise.tsv, the manifest, from which the audio is then mixed: utterance,
noise file, offset in samples at 16 kHz, SNR in dB, gain on the noise, and scale of the mix:

    noisy = scale * (speech + gain * noise[offset : offset + length])

The scale is 1, or less where the mix would overflow 16 bits; the SNR stays. An utterance meets the
same piece of noise at every SNR.

Without --noise_dir, a noise is a track that is made here once: babble (--num_voices speakers of
--noise_data talking at once, none of them in the test set), speech_shaped (their average spectrum),
pink, white. With --noise_dir, it is the sound files of that folder that go by its name:

    music      all files below a folder of this name, however deep: music/ of MUSAN
    babble     or else the files of this name: babble.wav of NOISEX-92
    factory    or else the files that differ in a number at the end: factory1.wav and factory2.wav
    all        or else all files

Capitals do not matter, and -, _ and spaces are the same.
"""

import argparse
import csv
import difflib
import functools
import glob
import logging
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mome import files
from mome.bin import Parser, run
from mome.data import audio, datadir, noise

COLUMNS = ("utterance", "file", "offset", "snr", "gain", "scale")
HIGHEST = 0.99  # sample of a mix
TRIES = 20  # to find a piece of a noise file that is not silent
SHOWN = 20  # names of noises told in one message
VERSION = 2
log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Write the noisy copies of a set."""
    args = parse(argv)
    data = datadir.read(args.data_dir)
    sounds = find_files(args.noise_dir, args.noise) if args.noise_dir else {}
    for name in args.noise:
        write_sets(args, data, name, sounds.get(name))


def write_sets(
    args: argparse.Namespace, data: datadir.DataDir, name: str, sounds: list[Path] | None
) -> None:
    """The sets of one noise, of these files or made, at each SNR; what is up to date is left."""
    inputs = describe(args, name, sounds)
    pieces: dict[str, tuple[Path, int]] = {}
    for snr in args.snrs:
        out_dir = args.out_prefix.with_name(f"{args.out_prefix.name}_{name}_{snr:g}")
        wav = {u: str(args.noisy_dir / out_dir.name / f"{u}.wav") for u in data.utterances}
        there = all(Path(path).exists() for path in wav.values())
        if files.up_to_date(out_dir, {**inputs, "snr": snr}) and there:
            log.info("%s is up to date", out_dir)
            continue
        files.clear_stamp(out_dir)
        if not pieces:
            if sounds:
                log.info(f"{name}: {len(sounds)} sound files of {args.noise_dir}")
            tracks = sounds or [make_track(args, name, data)]
            pieces = choose_pieces(data, tracks, args.seed)
        write_manifest(out_dir / "noise.tsv", plan(data, pieces, snr))
        for row in tqdm(read_manifest(out_dir / "noise.tsv"), out_dir.name, unit="clip"):
            utterance = row["utterance"]
            audio.write(wav[utterance], mix(row, audio.read(data.wav[utterance])))
        datadir.write(out_dir, datadir.DataDir(**{**vars(data), "wav": wav}))
        datadir.validate(out_dir)
        files.write_stamp(out_dir, {**inputs, "snr": snr})
        log.info(f"{out_dir}: {len(wav)} utterances at {snr:g} dB")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("data_dir", type=Path, help="the clean set")
    add("out_prefix", type=Path, help="data/test gives data/test_<noise>_<snr>")
    made = ", ".join(noise.MADE)
    what = f"one or several, each a set for each SNR: {made}; or, in --noise_dir, a folder or files"
    add("--noise", nargs="+", default=["babble"], help=what)
    add("--snrs", type=float, nargs="+", default=[5, 0, -5], help="dB")
    add("--noise_data", type=Path, help="data directory whose speakers babble: data/train")
    add("--noise_dir", type=Path, help="noise of your own: a folder such as MUSAN or NOISEX-92")
    add("--noisy_dir", type=Path, default=Path("dump/noisy"), help="where the audio is written")
    add("--num_voices", type=int, default=30, help="speakers that babble at once")
    add("--noise_seconds", type=float, default=120, help="length of a track of made noise")
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.num_voices < 1 or args.noise_seconds <= 0:
        parser.error("--num_voices and --noise_seconds must be above 0")
    for name in args.noise:
        if args.noise_dir:
            if not name.replace("_", "").replace("-", "").isalnum():
                parser.error(f"--noise '{name}' names folders: letters, digits, - and _ only")
        elif name not in noise.MADE:
            parser.error(
                f"noise '{name}' cannot be made; made are {made}. For files of your own, give"
                " --noise_dir"
            )
        elif name in ("babble", "speech_shaped") and not args.noise_data:
            parser.error(f"{name} is made of speech: give --noise_data data/train")
    return args


def describe(args: argparse.Namespace, name: str, sounds: list[Path] | None) -> dict:
    """What the sets of a noise depend on but the SNR, for the stamp."""
    tables = ("wav.scp", "video.scp", "text", "utt2spk", "phones", files.STAMP)
    inputs = {
        "version": VERSION,
        "data": {table: files.digest(args.data_dir / table) for table in tables},
        "noise": name,
        **{option: getattr(args, option) for option in ("noise_dir", "noisy_dir", "seed")},
    }
    if sounds:
        inputs["files"] = {str(path): files.clip_mark(path) for path in sounds}
    else:
        inputs |= {"num_voices": args.num_voices, "noise_seconds": args.noise_seconds}
    if args.noise_data:
        inputs["voices"] = [files.digest(args.noise_data / n) for n in ("wav.scp", files.STAMP)]
    return inputs


def find_files(noise_dir: Path, names: list[str]) -> dict[str, list[Path]]:
    """The user's sound files of each noise asked for.

    Raises FileNotFoundError when the folder has no sound file, or none of a noise.
    """
    known = categories(noise_dir)
    for name in names:
        if plain(name) in known:
            continue
        near = " or ".join(difflib.get_close_matches(plain(name), known, n=2))
        near = f"; did you mean {near}?" if near else ","
        found = sorted(known, key=lambda k: (-len(known[k]), k))  # those of many files first
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        made = f"; to have {name} made, leave out --noise_dir" if name in noise.MADE else ""
        raise FileNotFoundError(
            f"{noise_dir.resolve()} has no noise '{name}'{near} it has"
            f" {', '.join(found[:SHOWN])}{more}: give one of these as --noise (in a recipe,"
            f" --test_noise){made}"
        )
    return {name: known[plain(name)] for name in names}


def categories(noise_dir: Path) -> dict[str, list[Path]]:
    """The sound files below a folder by the names that they go by (see the top of this file)."""
    if not noise_dir.is_dir():
        raise FileNotFoundError(f"{noise_dir.resolve()} is no folder: give that of your noise")
    inside = sorted(map(Path, glob.glob("**/*", root_dir=noise_dir, recursive=True)))
    found = [p for p in inside if p.suffix.lower() in audio.SOUND_FILES]
    if not found:
        kinds = ", ".join(sorted(audio.SOUND_FILES))
        raise FileNotFoundError(f"{noise_dir.resolve()} holds no sound file ({kinds})")
    folders, stems, series = defaultdict(list), defaultdict(list), defaultdict(list)
    for path in found:
        stem = plain(path.stem)
        for folder in {plain(part) for part in path.parent.parts}:
            folders[folder].append(noise_dir / path)
        stems[stem].append(noise_dir / path)
        series[re.sub(r"(_?\d+)+$", "", stem)].append(noise_dir / path)
    series = {name: paths for name, paths in series.items() if name and len(paths) > 1}
    return {"all": [noise_dir / path for path in found], **series, **stems, **folders}


def plain(name: str) -> str:
    """`Free-Sound` and `free sound` -> `free_sound`."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def make_track(args: argparse.Namespace, name: str, data: datadir.DataDir) -> Path:
    """Write a track of made noise and return its path."""
    rng = np.random.default_rng([args.seed, zlib.crc32(name.encode())])
    length = round(args.noise_seconds * audio.SAMPLE_RATE)
    if name in ("white", "pink"):
        track = noise.make_coloured(name, length, rng)
    else:
        others = datadir.read(args.noise_data)
        voices = talk(others, set(data.utt2spk.values()), args, length, rng)
        make = noise.make_babble if name == "babble" else noise.make_speech_shaped
        track = make(voices, length, rng)
    path = args.noisy_dir / "made" / f"{args.out_prefix.name}_{name}.wav"
    audio.write(path, 0.9 * track / np.abs(track).max())
    log.info(f"{path}: {length / audio.SAMPLE_RATE:g} s of {name}")
    return path


def talk(
    others: datadir.DataDir,
    tested: set[str],
    args: argparse.Namespace,
    length: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """`num_voices` voices of at least `length` samples: utterances of a speaker, one after another.

    The speakers are not in the test set, and another one for each voice as far as there are.
    """
    speakers = [s for s in others.spk2utt if s not in tested]
    if not speakers:
        raise ValueError(f"{args.noise_data} has no speaker that {args.data_dir} has not")
    order = rng.permutation(len(speakers))
    for k in range(args.num_voices):
        utterances = others.spk2utt[speakers[order[k % len(order)]]]
        voice, total = [], 0
        while total < length:
            for i in rng.permutation(len(utterances)):
                samples = audio.read(others.wav[utterances[i]])
                voice.append(samples / max(noise.power(samples) ** 0.5, 1e-6))
                total += len(samples)
        yield np.concatenate(voice)[:length]


@functools.lru_cache(maxsize=32)
def samples_of(path: Path) -> np.ndarray:
    return audio.read(path)


def choose_pieces(
    data: datadir.DataDir, tracks: list[Path], seed: int
) -> dict[str, tuple[Path, int]]:
    """Noise file and offset for each utterance, the same whoever else is in the set.

    In the order of the files, so that each is read once when the audio is mixed. Raises ValueError
    when a file is silent wherever it was tried.
    """
    pieces = {}
    for utterance in data.utterances:
        length = len(audio.read(data.wav[utterance]))
        rng = np.random.default_rng([seed, zlib.crc32(utterance.encode())])
        for _ in range(TRIES):
            path = tracks[int(rng.integers(len(tracks)))]
            track = samples_of(path)
            offset = int(rng.integers(max(1, len(track) - length)))
            if noise.power(noise.segment(track, length, offset)) > 0:
                break
        else:
            raise ValueError(f"{path} is silent in all of {TRIES} places that were tried")
        pieces[utterance] = path, offset
    return dict(sorted(pieces.items(), key=lambda item: item[1][0]))


def plan(data: datadir.DataDir, pieces: dict[str, tuple[Path, int]], snr: float) -> list[dict]:
    """The lines of a manifest: which noise each utterance gets, and how loud."""
    rows = []
    for utterance, (path, offset) in pieces.items():
        speech = audio.read(data.wav[utterance])
        piece = noise.segment(samples_of(path), len(speech), offset)
        try:
            gain = noise.gain_for(speech, piece, snr)
        except ValueError as error:
            raise ValueError(f"{utterance} ({data.wav[utterance]}): {error}") from None
        scale = min(1.0, HIGHEST / float(np.abs(speech + gain * piece).max()))
        values = (utterance, path, offset, f"{snr:g}", f"{gain:.9g}", f"{scale:.9g}")
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write_manifest(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    with beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(path)


def read_manifest(path: Path) -> list[dict]:
    """The lines of noise.tsv, numbers as numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        row["offset"] = int(row["offset"])
        row.update({k: float(row[k]) for k in ("snr", "gain", "scale")})
    return rows


def mix(row: dict, speech: np.ndarray) -> np.ndarray:
    """The noisy utterance that a line of the manifest describes, float32 like `speech`."""
    piece = noise.segment(samples_of(Path(row["file"])), len(speech), row["offset"])
    return row["scale"] * (speech + row["gain"] * piece)


if __name__ == "__main__":
    run(main)
