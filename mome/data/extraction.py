"""Frozen encoders over a data set, once: the work of mome/bin/extract_features.py.

Stage 2 of a recipe. Writes FEATS_DIR/{audio,video}.scp (arks lie in FEATS_DIR/jobs), text,
utt2num_frames (audio, 50 a second), utt2num_video_frames (25), skipped.txt, feats.json; for a
training set also audio_noisy<n>.scp, copies in noise (babble of other speakers), since the noise
that training adds (MoME §4.1) must be there before the encoder, and noisy<n>.tsv: utterance, SNR
and what the noise was made of. `none` for the mouths or for an encoder leaves that stream out.
Before it starts it says how much disk the features take, and stops when there is less.

The set is split by utterance in --num_jobs processes; the numbers do not depend on how many. On a
cluster, run `--job 1/8` ... `--job 8/8` anywhere, then `--merge --num_jobs 8`.
"""

import argparse
import json
import logging
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mome import files

FORMAT = 1
FRAME = 320  # samples in an audio frame
VIDEO_FRAME = 640  # samples in a picture, 25 a second
MAX_APART = 2  # pictures that the lengths of audio and video may differ by
log = logging.getLogger(__name__)


def describe(args: argparse.Namespace) -> dict:
    """What the features depend on, for the stamp."""
    how = {
        "job",
        "merge",
        "num_jobs",
        "device",
        "data_dir",
        "mouths_dir",
        "feats_dir",
        "noise_data",
    }
    if args.store_rate == 1:
        how.add("store_rate")  # as before there was one
    if not args.num_noisy_copies:
        how |= {"noise", "noise_dir", "num_voices", "noisy_snrs", "seed"}
    inputs = [args.data_dir, args.data_dir / files.STAMP]
    if args.mouths_dir:
        inputs += [Path(args.mouths_dir, n) for n in ("mouths.scp", "skipped.txt", files.STAMP)]
    if args.num_noisy_copies:
        inputs += [args.noise_data / "wav.scp", args.noise_data / files.STAMP]
    inputs += [Path(x) for x in (args.audio_encoder, args.video_encoder) if x]
    options = {k: v for k, v in vars(args).items() if k not in how}
    return {"format": FORMAT, **options, "files": {str(f): files.digest(f) for f in inputs}}


def check_disk(args: argparse.Namespace) -> None:
    """Say how much disk the features will take; ValueError when there is less."""
    from mome import encoders
    from mome.data import datadir

    hours = sum(datadir.read(args.data_dir).utt2dur.values()) / 3600
    width = 0.0  # values a second
    if args.audio_encoder:
        dim = encoders.width_of(args.audio_encoder)
        width += 50 / args.store_rate * dim * (1 + args.num_noisy_copies)
    if args.video_encoder:
        width += 25 * encoders.width_of(args.video_encoder)
    needed, per_hour = hours * 3600 * width * 2, width * 7200  # two bytes a value
    args.feats_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(args.feats_dir).free
    log.info(
        "%s: features of %.3g h take %.3g GB, %.3g GB an hour; %.3g GB are free",
        *(args.feats_dir, hours, needed / 1e9, per_hour / 1e9, free / 1e9),
    )
    if needed > free:
        raise ValueError(
            f"{args.feats_dir}: the features take {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB"
            " are free: store audio averaged (encoders.store_rate, a common divisor of the audio"
            " rates), make fewer noisy copies, encode while training (encoders.features=online),"
            " or give the recipe another --work_dir"
        )


# ---- jobs ---------------------------------------------------------------------------------------


def job_dir(feats_dir: Path, index: int, total: int) -> Path:
    return feats_dir / "jobs" / f"{index}of{total}"


def remove_other_jobs(feats_dir: Path, total: int) -> None:
    for folder in (feats_dir / "jobs").glob("*of*"):
        if not folder.name.endswith(f"of{total}"):
            shutil.rmtree(folder)


def extract(args: argparse.Namespace, index: int, total: int, inputs: dict) -> None:
    """Encode every `total`-th utterance, from number `index` on, into the folder of this job."""
    folder = job_dir(args.feats_dir, index, total)
    if files.up_to_date(folder, inputs):
        log.info("%s is up to date", folder)
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    import torch

    from mome import encoders
    from mome.data import ark, datadir, video
    from mome.data.noise import waveform

    torch.set_num_threads(1)  # more jobs are faster than more threads, and give the same numbers
    data = datadir.read(args.data_dir)
    paths, skipped = dict.fromkeys(data.utterances), {}
    if args.mouths_dir:
        paths, skipped = datadir.with_mouths(data, args.mouths_dir)
    utterances = list(paths)[index - 1 :: total]
    device = args.device

    def encode(encoder, what: str, clips: Iterator) -> Iterator[tuple[str, np.ndarray]]:
        bar = dict(desc=f"{args.feats_dir.name} {what} {index}/{total}", position=index - 1)
        for utterance, clip in progress(clips, len(utterances) - len(apart), **bar):
            yield utterance, encoder([clip])[0].cpu().numpy()

    apart: dict[str, str] = {}
    counts, info = {}, {"pad_to_30s": args.pad_to_30s, "num_noisy_copies": args.num_noisy_copies}
    if args.store_rate > 1:
        info["store_rate"] = args.store_rate
    if args.video_encoder:
        encoder = encoders.load_video_encoder(args.video_encoder, device)
        info |= {f"video_{k}": v for k, v in encoders.about(encoder).items()}

        def mouths() -> Iterator[tuple[str, np.ndarray]]:
            for utterance in utterances:
                mouth = video.read_mouth(paths[utterance])
                if reason := lengths_differ(data.wav[utterance], len(mouth)):
                    apart[utterance] = reason
                else:
                    yield utterance, mouth

        counts["video"] = ark.write_ark(folder / "video.scp", encode(encoder, "video", mouths()))
    kept = [u for u in utterances if u not in apart]
    if args.audio_encoder:
        encoder = encoders.load_audio_encoder(args.audio_encoder, device, args.pad_to_30s)
        info |= {f"audio_{k}": v for k, v in encoders.about(encoder).items()}
        clean = ((u, waveform(data.wav[u])) for u in kept)
        lengths = counts["audio"] = {}
        found = averaged(encode(encoder, "audio", clean), args.store_rate, lengths)
        ark.write_ark(folder / "audio.scp", found)
        for n in range(1, args.num_noisy_copies + 1):
            lines = ["utterance\tsnr\tsource"]
            noisy = noisy_copies(args, data, kept, n, lines)
            found = averaged(encode(encoder, f"noisy {n}", noisy), args.store_rate, {})
            ark.write_ark(folder / f"audio_noisy{n}.scp", found)
            (folder / f"noisy{n}.tsv").write_text("\n".join(lines) + "\n")
    table = {"counts": counts, "skipped": skipped | apart, "info": info, "total": len(data.text)}
    (folder / "job.json").write_text(json.dumps(table))
    files.write_stamp(folder, inputs)


def averaged(features: Iterator, rate: int, lengths: dict[str, int]) -> Iterator:
    """Every `rate` frames as their mean, the last few too; notes in `lengths` how many there were.

    A mean of such means, each counted by its frames, is the mean of the frames: averaging at a
    multiple of `rate` loses nothing.
    """
    for utterance, x in features:
        lengths[utterance] = len(x)
        starts = np.arange(0, len(x), rate)
        counts = np.minimum(rate, len(x) - starts)[:, None]
        yield utterance, x if rate == 1 else np.add.reduceat(x, starts) / counts


def progress(clips: Iterator, total: int, **bar) -> Iterator:
    from tqdm import tqdm

    return tqdm(clips, total=total, unit="clip", leave=False, disable=None, **bar)


def lengths_differ(wav_path: str, num_pictures: int) -> str | None:
    """Why a clip whose audio and video are not equally long is left out, or None."""
    import soundfile

    audio = soundfile.info(wav_path).frames / VIDEO_FRAME
    if abs(audio - num_pictures) <= MAX_APART:
        return None
    return f"its audio lasts {audio / 25:.2f} s, its video {num_pictures / 25:.2f} s"


def noisy_copies(args: argparse.Namespace, data, utterances: list[str], n: int, lines: list[str]):
    """Copy `n` of each utterance in noise; appends a line a copy to `lines`.

    Noise and SNR depend on the seed, the utterance and n alone, not on the job.
    """
    from mome.data import datadir, noise

    voices = datadir.read(args.noise_data)
    source = noise.Noise(args.noise, args.noisy_snrs, voices, args.num_voices, args.noise_dir)
    for utterance in utterances:
        rng = np.random.default_rng([args.seed, zlib.crc32(utterance.encode()), n])
        speech = noise.waveform(data.wav[utterance])
        noisy, snr, origin = source.add(speech, data.utt2spk[utterance], rng)
        lines.append(f"{utterance}\t{snr:g}\t{origin}")
        yield utterance, noisy


# ---- merge --------------------------------------------------------------------------------------


def merge(args: argparse.Namespace, inputs: dict) -> float:
    """Join the jobs' tables in FEATS_DIR; seconds of media in them. Raises ValueError.

    A job that is missing, or that was run with other options, is an error; so are too many
    utterances left out (datadir.check_skipped).
    """
    from mome.data import ark, datadir

    folders = [job_dir(args.feats_dir, i + 1, args.num_jobs) for i in range(args.num_jobs)]
    for i, folder in enumerate(folders):
        if not files.up_to_date(folder, inputs):
            changed = ", ".join(files.changed_inputs(folder, inputs))
            raise ValueError(
                f"{folder} is not the result of this command (differs in: {changed}): run it with "
                f"--job {i + 1}/{args.num_jobs}"
            )
    tables = [json.loads((folder / "job.json").read_text()) for folder in folders]
    skipped = {u: reason for table in tables for u, reason in table["skipped"].items()}
    where = datadir.write_skipped(args.feats_dir, skipped)
    if skipped:
        log.info("%d of %d left out: %s", len(skipped), tables[0]["total"], where)
    datadir.check_skipped(skipped, tables[0]["total"], datadir.is_test(args.feats_dir), where)

    for old in [*args.feats_dir.glob("*.scp"), *args.feats_dir.glob("noisy*.tsv")]:
        old.unlink()
    for scp in sorted(folders[0].glob("*.scp")):
        ark.merge([folder / scp.name for folder in folders], args.feats_dir / scp.name)
    for tsv in sorted(folders[0].glob("*.tsv")):
        head, *_ = tsv.read_text().splitlines()
        lines = [x for f in folders for x in (f / tsv.name).read_text().splitlines()[1:]]
        write_lines(args.feats_dir / tsv.name, [head, *datadir.sort(lines)])
    data = datadir.read(args.data_dir)
    counts = {
        stream: {u: n for table in tables for u, n in table["counts"].get(stream, {}).items()}
        for stream in ("audio", "video")
    }
    kept = datadir.sort(counts["audio"] or counts["video"])
    write_lines(args.feats_dir / "text", [f"{u} {data.text[u]}" for u in kept])
    for stream, name in (("audio", "utt2num_frames"), ("video", "utt2num_video_frames")):
        (args.feats_dir / name).unlink(missing_ok=True)
        if counts[stream]:
            write_lines(args.feats_dir / name, [f"{u} {counts[stream][u]}" for u in kept])
    write_lines(args.feats_dir / "feats.json", [json.dumps(tables[0]["info"], indent=1)])
    return sum(data.utt2dur[u] for u in kept) * (1 + args.num_noisy_copies)


def write_lines(path: Path, lines: list[str]) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    beside.replace(path)
