"""Noisy copies of a test set: python -m mome.bin.add_noise data/test data/test --noise babble ...

Stage 1 of a recipe. Writes OUT_PREFIX_<noise>_<snr>/, a data directory like the clean one, for each
SNR, and in it noise.tsv, the manifest, from which the audio is then mixed: utterance, noise file,
offset in samples at 16 kHz, SNR in dB, gain on the noise, and scale of the mix:

    noisy = scale * (speech + gain * noise[offset : offset + length])

The scale is 1, or less where the mix would overflow 16 bits; the SNR stays. An utterance meets the
same piece of noise at every SNR. The noise is the user's (--noise_dir), or a track that is made
here once: babble (--num_voices speakers of --noise_data talking at once, none of them in the test
set), speech_shaped (their average spectrum), pink, white.
"""

import argparse
import csv
import functools
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mome import audio, datadir, ledger, noise, stamp
from mome.bin import Parser, run

COLUMNS = ("utterance", "file", "offset", "snr", "gain", "scale")
HIGHEST = 0.99  # sample of a mix
TRIES = 20  # to find a piece of a noise file that is not silent
VERSION = 2
log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Write the noisy copies of a set."""
    args = parse(argv)
    data = datadir.read(args.data_dir)
    inputs = describe(args)
    pieces: dict[str, tuple[Path, int]] = {}
    for snr in args.snrs:
        out_dir = args.out_prefix.with_name(f"{args.out_prefix.name}_{args.noise}_{snr:g}")
        wav = {u: str(args.noisy_dir / out_dir.name / f"{u}.wav") for u in data.utterances}
        there = all(Path(path).exists() for path in wav.values())
        if stamp.fresh(out_dir, {**inputs, "snr": snr}) and there:
            log.info("%s is up to date", out_dir)
            continue
        stamp.clear(out_dir)
        if not pieces:
            tracks = find_files(args.noise_dir) if args.noise_dir else [make_track(args, data)]
            pieces = choose_pieces(data, tracks, args.seed)
        write_manifest(out_dir / "noise.tsv", plan(data, pieces, snr))
        for row in tqdm(read_manifest(out_dir / "noise.tsv"), out_dir.name, unit="clip"):
            utterance = row["utterance"]
            audio.write(wav[utterance], mix(row, audio.read(data.wav[utterance])))
        datadir.write(out_dir, datadir.DataDir(**{**vars(data), "wav": wav}))
        datadir.validate(out_dir)
        stamp.write(out_dir, {**inputs, "snr": snr})
        log.info(f"{out_dir}: {len(wav)} utterances at {snr:g} dB")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("data_dir", type=Path, help="the clean set")
    add("out_prefix", type=Path, help="data/test gives data/test_<noise>_<snr>")
    add("--noise", default="babble", help=f"{', '.join(noise.MADE)}; or a name for --noise_dir")
    add("--snrs", type=float, nargs="+", default=[5, 0, -5], help="dB")
    add("--noise_data", type=Path, help="data directory whose speakers babble: data/train")
    add("--noise_dir", type=Path, help="noise of your own: all sound files in this folder")
    add("--noisy_dir", type=Path, default=Path("dump/noisy"), help="where the audio is written")
    add("--num_voices", type=int, default=30, help="speakers that babble at once")
    add("--noise_seconds", type=float, default=120, help="length of a track of made noise")
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.num_voices < 1 or args.noise_seconds <= 0:
        parser.error("--num_voices and --noise_seconds must be above 0")
    if args.noise_dir:
        if not args.noise.replace("_", "").replace("-", "").isalnum():
            parser.error(f"--noise '{args.noise}' names folders: letters, digits, - and _ only")
    elif args.noise not in noise.MADE:
        parser.error(
            f"noise '{args.noise}' cannot be made; made are {', '.join(noise.MADE)}. For files of"
            " your own, give --noise_dir"
        )
    elif args.noise in ("babble", "speech_shaped") and not args.noise_data:
        parser.error(f"{args.noise} is made of speech: give --noise_data data/train")
    return args


def describe(args: argparse.Namespace) -> dict:
    """What the noisy sets depend on but the SNR, for the stamp."""
    tables = ("wav.scp", "video.scp", "text", "utt2spk", "phones", stamp.NAME)
    inputs = {
        "version": VERSION,
        "data": {name: stamp.digest(args.data_dir / name) for name in tables},
        **{name: getattr(args, name) for name in ("noise", "noise_dir", "noisy_dir", "seed")},
    }
    if args.noise_dir:
        inputs["files"] = {str(path): ledger.mark(path) for path in find_files(args.noise_dir)}
    else:
        inputs |= {"num_voices": args.num_voices, "noise_seconds": args.noise_seconds}
    if args.noise_data:
        inputs["voices"] = [stamp.digest(args.noise_data / n) for n in ("wav.scp", stamp.NAME)]
    return inputs


def find_files(noise_dir: Path) -> list[Path]:
    """The user's noise. Raises FileNotFoundError when there is none."""
    found = [p for p in sorted(noise_dir.rglob("*")) if p.suffix.lower() in audio.SOUND_FILES]
    if not found:
        kinds = ", ".join(sorted(audio.SOUND_FILES))
        raise FileNotFoundError(f"{noise_dir} holds no sound file ({kinds})")
    return found


def make_track(args: argparse.Namespace, data: datadir.DataDir) -> Path:
    """Write a track of made noise and return its path."""
    rng = np.random.default_rng([args.seed, zlib.crc32(args.noise.encode())])
    length = round(args.noise_seconds * audio.SAMPLE_RATE)
    if args.noise in ("white", "pink"):
        track = noise.make_coloured(args.noise, length, rng)
    else:
        others = datadir.read(args.noise_data)
        voices = talk(others, set(data.utt2spk.values()), args, length, rng)
        make = noise.make_babble if args.noise == "babble" else noise.make_speech_shaped
        track = make(voices, length, rng)
    path = args.noisy_dir / "made" / f"{args.out_prefix.name}_{args.noise}.wav"
    audio.write(path, 0.9 * track / np.abs(track).max())
    log.info(f"{path}: {length / audio.SAMPLE_RATE:g} s of {args.noise}")
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

    Raises ValueError when a file is silent wherever it was tried.
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
    return pieces


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
