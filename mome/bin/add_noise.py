"""Noisy copies of a test set: python -m mome.bin.add_noise data/test data/test --noise babble ...

Stage 1 of a recipe. Writes OUT_PREFIX_<noise>_<snr>/, a data directory like the clean one, for each
SNR, and in it noise.tsv, the manifest, from which the audio is then mixed: utterance, noise file,
offset in samples, SNR in dB, gain on the noise, and scale of the mix (below 1 where it would
overflow; the SNR stays). An utterance meets the same noise at every SNR. The noise file of each
utterance is the user's (--noise_dir) or made here once (babble of training speakers, ...).
"""

import argparse
import csv
import logging
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mome import audio, datadir, noise, stamp
from mome.bin import run

log = logging.getLogger(__name__)

COLUMNS = ("utterance", "file", "offset", "snr", "gain", "scale")
VERSION = 1


def make_tracks(
    kind: str, out_dir: Path, voices: dict[str, str], num_voices: int, seconds: float, seed: int
) -> list[Path]:
    """Write three tracks of made noise, `seconds` long each; returns their files."""
    tracks = []
    length = int(seconds * audio.SAMPLE_RATE)
    for k in range(3):
        rng = np.random.default_rng([seed, k])
        if kind in ("white", "pink"):
            track = noise.make_coloured(kind, length, rng)
        else:
            size = min(num_voices, len(voices))
            chosen = rng.choice(sorted(voices), size, replace=False)
            waves = [audio.read(voices[u]) for u in chosen]
            make = noise.make_babble if kind == "babble" else noise.make_speech_shaped
            track = make(waves, length, rng)
        path = out_dir / f"{kind}{k}.wav"
        audio.write(path, 0.9 * track / np.abs(track).max())
        tracks.append(path)
    return tracks


def choose(utterance: str, length: int, tracks: list[Path], seed: int) -> tuple[Path, int]:
    """The noise file and offset of an utterance: the same whoever else is in the set."""
    rng = np.random.default_rng([seed, zlib.crc32(utterance.encode())])
    path = tracks[int(rng.integers(len(tracks)))]
    return path, int(rng.integers(max(1, len(audio.read(path)) - length)))


def write_manifest(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(path)


def read_manifest(path: Path) -> list[dict]:
    """The lines of noise.tsv, numbers as numbers."""
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        row["offset"] = int(row["offset"])
        row.update({k: float(row[k]) for k in ("snr", "gain", "scale")})
    return rows


def plan(data: datadir.DataDir, tracks: list[Path], snr: float, seed: int) -> list[dict]:
    """One manifest: which noise each utterance gets, and how loud."""
    rows = []
    for u in data.utterances:
        speech = audio.read(data.wav[u])
        path, offset = choose(u, len(speech), tracks, seed)
        piece = noise.segment(audio.read(path), len(speech), offset)
        gain = noise.gain_for(speech, piece, snr)
        peak = float(np.abs(speech + gain * piece).max())
        rows.append(
            {
                "utterance": u,
                "file": str(path),
                "offset": offset,
                "snr": f"{snr:g}",
                "gain": f"{gain:.6g}",
                "scale": f"{min(1.0, 0.99 / peak):.6g}",
            }
        )
    return rows


def mix(row: dict, speech: np.ndarray) -> np.ndarray:
    """The noisy utterance that a line of the manifest describes."""
    piece = noise.segment(audio.read(row["file"]), len(speech), row["offset"])
    return row["scale"] * (speech + row["gain"] * piece)


def main(argv: list[str] | None = None) -> None:
    """Write the noisy copies of a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path, help="the clean set")
    parser.add_argument("out_prefix", type=Path, help="data/test gives data/test_<noise>_<snr>")
    parser.add_argument("--noise", default="babble", help=", ".join(noise.MADE))
    parser.add_argument("--snrs", type=float, nargs="+", default=[5, 0, -5], help="dB")
    parser.add_argument("--noise_data", type=Path, help="data directory whose speakers babble")
    parser.add_argument("--noise_dir", type=Path, help="sound files of your own")
    parser.add_argument("--noisy_dir", type=Path, default=Path("dump/noisy"))
    parser.add_argument("--num_voices", type=int, default=30, help="utterances in the babble")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    data = datadir.read(args.data_dir)
    tracks = None
    for snr in args.snrs:
        out_dir = args.out_prefix.with_name(f"{args.out_prefix.name}_{args.noise}_{snr:g}")
        inputs = {
            "version": VERSION,
            "wav": stamp.digest(args.data_dir / "wav.scp"),
            "text": stamp.digest(args.data_dir / "text"),
            "audio": stamp.digest(args.data_dir / stamp.NAME),
            "voices": stamp.digest(args.noise_data / stamp.NAME) if args.noise_data else None,
            "noise": [args.noise, str(args.noise_dir), args.num_voices, args.seed, snr],
        }
        if stamp.fresh(out_dir, inputs):
            log.info(f"{out_dir} is up to date")
            continue
        if tracks is None:
            tracks = find_tracks(args, data)
        stamp.clear(out_dir)
        write_manifest(out_dir / "noise.tsv", plan(data, tracks, snr, args.seed))
        wav = {}
        for row in tqdm(read_manifest(out_dir / "noise.tsv"), out_dir.name, unit="clip"):
            u = row["utterance"]
            wav[u] = str(args.noisy_dir / out_dir.name / f"{u}.wav")
            audio.write(wav[u], mix(row, audio.read(data.wav[u])))
        datadir.write(out_dir, datadir.DataDir(**{**vars(data), "wav": wav}))
        datadir.validate(out_dir)
        stamp.write(out_dir, inputs)
        log.info(f"{out_dir}: {len(wav)} utterances at {snr:g} dB")


def find_tracks(args: argparse.Namespace, data: datadir.DataDir) -> list[Path]:
    """The noise files: the user's, or made from the training set."""
    if args.noise_dir:
        files = sorted(args.noise_dir.rglob("*"))
        found = [p for p in files if p.suffix.lower() in audio.SOUND_FILES]
        if not found:
            raise FileNotFoundError(f"{args.noise_dir} holds no sound file (wav, flac, ogg)")
        return found
    if args.noise not in noise.MADE:
        raise ValueError(
            f"noise '{args.noise}' cannot be made; made are {', '.join(noise.MADE)}. For files of"
            " your own, give --noise_dir"
        )
    voices: dict[str, str] = {}
    if args.noise in ("babble", "speech_shaped"):
        if not args.noise_data:
            raise ValueError(f"{args.noise} is made of speech: give --noise_data data/train")
        others = datadir.read(args.noise_data)
        speakers = set(data.utt2spk.values())
        voices = {u: w for u, w in others.wav.items() if others.utt2spk[u] not in speakers}
        if not voices:
            raise ValueError(f"{args.noise_data} has no speaker that {args.data_dir} has not")
    return make_tracks(
        args.noise, args.noisy_dir / "made", voices, args.num_voices, 20.0, args.seed
    )


if __name__ == "__main__":
    run(main)
