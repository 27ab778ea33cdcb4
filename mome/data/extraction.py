"""Features of a data set: the frozen encoders run over it once, in jobs (stage 2 of a recipe).

`extract` encodes the part of one job into `FEATS_DIR/jobs/<i>of<n>/`; `merge` joins the parts of
all jobs. Utterances of similar length are encoded together. The batches are formed from the whole
set before jobs share them, so the numbers do not depend on how many jobs there are. They do depend
on the kind of device, which sets the size of a batch: in float32, the frames of an utterance differ
from those it has alone by less than 1e-4 of their norm; in bfloat16, by about 1 %.

    {audio,video}.scp     frames of each utterance; the arks stay in the folders of the jobs
    audio_noisy<n>.scp    the audio in noise; noisy<n>.tsv: utterance, SNR in dB, where it is from
    utt2num_frames        audio frames, 50 a second; utt2num_video_frames: 25 a second
    text  skipped.txt     transcripts of the utterances; those left out, with the reason
    feats.json            encoders and options
"""

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mome import files
from mome.data import AUDIO_FPS, VIDEO_FPS, ark, batches, datadir, noise, validation, video_features
from mome.data.batches import Frames
from mome.data.set_name import SetName

FORMAT = 1  # of the files; a new number makes all features again
NOISE_OPTIONS = ("noise", "noise_dir", "num_voices", "noisy_snrs", "seed")
GPU_READERS = 8  # threads: a GPU is faster than one; on a CPU, one has time enough
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What the features of a set are made from, and how.

    Attributes:
        data_dir, mouths_dir: the set, and the folder with mouths.scp; None without video.
        feats_dir: where the features go.
        audio_encoder, video_encoder: folder or hub id; None leaves the stream out.
        video_from: features of a set with the same mouths, whose video is taken over.
        pad_to_30s: let the audio encoder see silence up to 30 s after each clip.
        store_rate: audio frames that are averaged into one on disk.
        num_noisy_copies: copies of the audio in noise.
        noise, noise_dir, noise_data, num_voices, noisy_snrs: as `mome.data.noise.Noise` takes them;
            noise_data is the data directory with the voices, None for the set itself.
        seed: of the noise.
    """

    data_dir: Path
    mouths_dir: str | Path | None
    feats_dir: Path
    audio_encoder: str | None
    video_encoder: str | None
    video_from: Path | None = None
    pad_to_30s: bool = False
    store_rate: int = 1
    num_noisy_copies: int = 0
    noise: str = "babble"
    noise_dir: Path | None = None
    noise_data: Path | None = None
    num_voices: int = 30
    noisy_snrs: Sequence[float] = (-5, 0, 5, 10, 15, 20)
    seed: int = 1


def describe(options: Options) -> dict[str, Any]:
    """What the features depend on, for the stamp."""
    names = ["audio_encoder", "video_encoder", "pad_to_30s", "num_noisy_copies"]
    if options.store_rate > 1:  # stamps are older than this option
        names.append("store_rate")
    inputs = [options.data_dir, options.data_dir / files.STAMP, *inputs_of_video(options)]
    if options.video_from:
        inputs.append(options.video_from / "video.scp")
    if options.num_noisy_copies:
        names += NOISE_OPTIONS
        voices_dir = options.noise_data or options.data_dir
        inputs += [voices_dir / "wav.scp", voices_dir / files.STAMP]
    if options.audio_encoder:
        inputs.append(Path(options.audio_encoder))
    return {
        "format": FORMAT,
        **{name: getattr(options, name) for name in names},
        "files": {str(path): files.digest(path) for path in inputs},
    }


def inputs_of_video(options: Options) -> list[Path]:
    """The files and folders that the video features depend on."""
    if not options.mouths_dir or not options.video_encoder:
        return []
    tables = [Path(options.mouths_dir, t) for t in ("mouths.scp", "skipped.txt", files.STAMP)]
    return [*tables, Path(options.video_encoder)]


def up_to_date(options: Options, job: tuple[int, int] | None = None) -> bool:
    """Whether the features of the set, or of job `i` of `n`, are there; the log says so."""
    folder = job_dir(options.feats_dir, *job) if job else options.feats_dir
    done = files.up_to_date(folder, describe(options))
    if done:
        log.info("%s is up to date", folder)
    return done


def prepare(options: Options, num_jobs: int) -> None:
    """Make room for the features before `num_jobs` jobs start.

    Raises ValueError when the disk is too small.
    """
    files.clear_stamp(options.feats_dir)
    check_disk(options)
    for folder in (options.feats_dir / "jobs").glob("*of*"):
        if not folder.name.endswith(f"of{num_jobs}"):
            shutil.rmtree(folder)


def check_disk(options: Options) -> None:
    """Log how much disk the features will take; ValueError when less is free."""
    hours = sum(datadir.read(options.data_dir).utt2dur.values()) / 3600
    values = 0.0  # a second
    if options.audio_encoder:
        dim = width_of(options.audio_encoder)
        values += AUDIO_FPS / options.store_rate * dim * (1 + options.num_noisy_copies)
    if options.video_encoder and not options.video_from:
        values += VIDEO_FPS * width_of(options.video_encoder)
    needed, per_hour = hours * 3600 * values * 2, values * 7200  # two bytes a value
    options.feats_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(options.feats_dir).free
    log.info(
        "%s: features of %.3g h take %.3g GB, %.3g GB an hour; %.3g GB are free",
        *(options.feats_dir, hours, needed / 1e9, per_hour / 1e9, free / 1e9),
    )
    if needed > free:
        raise ValueError(
            f"{options.feats_dir}: the features take {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB"
            " are free: store audio averaged (encoders.store_rate, a common divisor of the audio"
            " rates), make fewer noisy copies, encode while training (encoders.features=online),"
            " or give the recipe another --work_dir"
        )


def width_of(name_or_path: str) -> int:
    """Width of the frames of an encoder, of either kind, from its config.json or the hub's."""
    path = Path(name_or_path, "config.json")
    if path.is_file():
        found = json.loads(path.read_text())
        return found["d_model" if "d_model" in found else "dim"]
    from transformers import WhisperConfig  # takes seconds to import

    return WhisperConfig.from_pretrained(name_or_path).d_model


def job_dir(feats_dir: Path, index: int, total: int) -> Path:
    """Folder of job `index` of `total`, counted from 1."""
    return feats_dir / "jobs" / f"{index}of{total}"


# ---- one job ------------------------------------------------------------------------------------


def extract(options: Options, job: tuple[int, int], device: str) -> None:
    """Encode the utterances of job `i` of `n`: every `n`-th batch, from number `i` on.

    First the video, which shows whose audio has another length; then the audio of all others, clean
    and in noise; at last job.json: counts of frames, utterances left out, what feats.json will say.
    Raises FileNotFoundError or ValueError when an encoder, a table or a clip cannot be read.
    """
    import torch  # takes seconds to import, and most runs find all up to date

    from mome import encoders

    inputs, folder = describe(options), job_dir(options.feats_dir, *job)
    files.clear_stamp(options.feats_dir)
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(1)  # more jobs are faster than more threads, and give the same numbers
    data = datadir.read(options.data_dir)
    mouths: dict[str, str] = dict.fromkeys(data.utterances, "")
    skipped: dict[str, str] = {}
    if options.mouths_dir:
        mouths, skipped = datadir.with_mouths(data, options.mouths_dir)
    shared = batches_of(data, mouths, encoders.batch_seconds(device))[job[0] - 1 :: job[1]]
    encode = partial(batches.encode, job=job, num_readers=1 if device == "cpu" else GPU_READERS)
    info = {"pad_to_30s": options.pad_to_30s, "num_noisy_copies": options.num_noisy_copies}
    if options.store_rate > 1:
        info["store_rate"] = options.store_rate
    counts: dict[str, dict[str, int]] = {}
    if options.video_encoder:
        if options.video_from:
            wanted = [utterance for batch in shared for utterance in batch]
            video_features.check(options.video_from, inputs_of_video(options))
            counts["video"], unequal, about = video_features.take(
                options.video_from, wanted, folder
            )
        else:
            video_encoder = encoders.load_video_encoder(options.video_encoder, device)
            about = {f"video_{k}": v for k, v in encoders.about(video_encoder).items()}
            counts["video"], unequal = video_features.write(
                folder, options.feats_dir.name, partial(encode, video_encoder), data, mouths, shared
            )
        info |= about
        shared = [[u for u in batch if u not in unequal] for batch in shared]
        skipped |= unequal
    if options.audio_encoder:
        audio_encoder = encoders.load_audio_encoder(
            options.audio_encoder, device, options.pad_to_30s
        )
        info |= {f"audio_{k}": v for k, v in encoders.about(audio_encoder).items()}
        counts["audio"] = write_audio(folder, options, partial(encode, audio_encoder), data, shared)
    found = {"counts": counts, "skipped": skipped, "info": info, "total": len(data.text)}
    files.write_text(folder / "job.json", json.dumps(found))
    files.write_stamp(folder, inputs)


def batches_of(data: datadir.DataDir, utterances: Iterable[str], seconds: float) -> list[list[str]]:
    """Utterances in batches of at most so many seconds, which hold for audio and video alike."""
    most_apart = video_features.MAX_APART / VIDEO_FPS
    return batches.similar_lengths({u: data.utt2dur[u] + most_apart for u in utterances}, seconds)


def write_audio(
    folder: Path,
    options: Options,
    encode: Callable[..., Frames],
    data: datadir.DataDir,
    shared: list[list[str]],
) -> dict[str, int]:
    """Write the audio of utterances, clean and in noise; returns the number of frames of each."""
    name, rate = options.feats_dir.name, options.store_rate
    counts: dict[str, int] = {}
    frames = encode(lambda utterance: noise.waveform(data.wav[utterance]), shared, f"{name} audio")
    ark.write_ark(folder / "audio.scp", averaged(frames, rate, counts))
    for n in range(1, options.num_noisy_copies + 1):
        lines: dict[str, str] = {}
        frames = encode(noisy_copies(options, data, n, lines), shared, f"{name} noisy {n}")
        ark.write_ark(folder / f"audio_noisy{n}.scp", averaged(frames, rate, {}))
        sorted_lines = [lines[utterance] for utterance in datadir.sort(lines)]
        write_lines(folder / f"noisy{n}.tsv", ["utterance\tsnr\tsource", *sorted_lines])
    return counts


def noisy_copies(
    options: Options, data: datadir.DataDir, n: int, lines: dict[str, str]
) -> Callable[[str], np.ndarray]:
    """A function that reads an utterance in noise, copy `n`, and notes a line of its list.

    Noise and SNR depend on the seed, the utterance and n alone: not on the job, nor on the order.
    """
    source = noise.Noise(
        options.noise,
        list(options.noisy_snrs),
        datadir.read(options.noise_data or options.data_dir),
        options.num_voices,
        options.noise_dir,
    )

    def read(utterance: str) -> np.ndarray:
        rng = np.random.default_rng([options.seed, zlib.crc32(utterance.encode()), n])
        speech = noise.waveform(data.wav[utterance])
        noisy, snr, origin = source.add(speech, data.utt2spk[utterance], rng)
        lines[utterance] = f"{utterance}\t{snr:g}\t{origin}"
        return noisy

    return read


def averaged(frames: Frames, rate: int, counts: dict[str, int]) -> Frames:
    """The means of every `rate` frames and of the last few; notes in `counts` how many there were.

    A mean of such means, each weighted by its frames, is the mean of the frames: averaging at a
    multiple of `rate` loses nothing.
    """
    for utterance, x in frames:
        counts[utterance] = len(x)
        starts = np.arange(0, len(x), rate)
        sizes = np.minimum(rate, len(x) - starts)[:, None]
        yield utterance, x if rate == 1 else np.add.reduceat(x, starts) / sizes


# ---- all jobs -----------------------------------------------------------------------------------


def merge(
    options: Options,
    num_jobs: int,
    max_skipped: float = validation.MAX_SKIPPED,
    max_skipped_test: float = 0.0,
) -> float:
    """Join what the jobs have written, in FEATS_DIR; returns the seconds of media in it.

    `max_skipped` and `max_skipped_test` are those of `validation.check_skipped`. Raises ValueError
    for a job that is missing or was run with other options, and when too many utterances were left
    out.
    """
    inputs, feats_dir = describe(options), options.feats_dir
    files.clear_stamp(feats_dir)
    folders = finished_jobs(feats_dir, num_jobs, inputs)
    results = [json.loads((folder / "job.json").read_text()) for folder in folders]
    skipped = {u: reason for result in results for u, reason in result["skipped"].items()}
    list_path = datadir.write_skipped(feats_dir, skipped)
    num_clips = results[0]["total"]
    if skipped:
        log.info("%d of %d left out: %s", len(skipped), num_clips, list_path)
    is_test = SetName.parse(feats_dir).is_test
    limits = max_skipped, max_skipped_test
    validation.check_skipped(skipped, num_clips, is_test, list_path, *limits)

    merge_indices(folders, feats_dir)
    data = datadir.read(options.data_dir)
    counts = {
        stream: {u: n for result in results for u, n in result["counts"].get(stream, {}).items()}
        for stream in ("audio", "video")
    }
    kept = datadir.sort(counts["audio"] or counts["video"])
    write_lines(feats_dir / "text", [f"{u} {data.text[u]}" for u in kept])
    for stream, table in (("audio", "utt2num_frames"), ("video", "utt2num_video_frames")):
        (feats_dir / table).unlink(missing_ok=True)
        if counts[stream]:
            write_lines(feats_dir / table, [f"{u} {counts[stream][u]}" for u in kept])
    write_lines(feats_dir / "feats.json", [json.dumps(results[0]["info"], indent=1)])
    files.write_stamp(feats_dir, inputs)
    return sum(data.utt2dur[u] for u in kept) * (1 + options.num_noisy_copies)


def finished_jobs(feats_dir: Path, num_jobs: int, inputs: dict[str, Any]) -> list[Path]:
    """The folders of all jobs. Raises ValueError when one is not made from these inputs."""
    folders = [job_dir(feats_dir, i + 1, num_jobs) for i in range(num_jobs)]
    for i, folder in enumerate(folders):
        if not files.up_to_date(folder, inputs):
            changed = ", ".join(files.changed_inputs(folder, inputs))
            raise ValueError(
                f"{folder} is not the result of this command (differs in: {changed}): run it with"
                f" --job {i + 1}/{num_jobs}"
            )
    return folders


def merge_indices(folders: list[Path], feats_dir: Path) -> None:
    """Join the indices and the lists of noise of all jobs, in place of older ones."""
    for old_path in [*feats_dir.glob("*.scp"), *feats_dir.glob("noisy*.tsv")]:
        old_path.unlink()
    for scp in sorted(folders[0].glob("*.scp")):
        merge_scps([folder / scp.name for folder in folders], feats_dir / scp.name)
    for tsv in sorted(folders[0].glob("*.tsv")):
        head = tsv.read_text().splitlines()[0]
        lines = [x for f in folders for x in (f / tsv.name).read_text().splitlines()[1:]]
        write_lines(feats_dir / tsv.name, [head, *datadir.sort(lines)])


def merge_scps(scp_paths: Iterable[str | Path], out_scp: str | Path) -> dict[str, str]:
    """Join the indices of parallel jobs into one, sorted; the arks stay where they are.

    Raises ValueError for an utterance that is in two of them.
    """
    merged: dict[str, str] = {}
    for scp_path in scp_paths:
        entries = ark.read_scp(scp_path)
        twice = sorted(merged.keys() & entries.keys())
        if twice:
            raise ValueError(f"{scp_path} has {twice[0]}, which another job has written too")
        merged.update(entries)
    ark.write_scp(out_scp, merged)
    return merged


def write_lines(path: Path, lines: Iterable[str]) -> None:
    files.write_text(path, "".join(f"{line}\n" for line in lines))
