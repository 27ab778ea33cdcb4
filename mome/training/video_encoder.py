"""Pretrain a small video encoder (AV-HuBERT) on the phone of each frame.

AV-HuBERT learns from clusters of frames. Where the times of the phones are known, as in the mini
corpus, phones teach a small one to read lips in minutes on a CPU. The encoder is frozen afterwards;
the LLM gets its last layer, normalised.

Shape key
    B  batch    T  frames, 25 a second    H W  height, width    P  phones
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
import torch.nn.functional as F
from torch import Tensor, nn

from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.data import VIDEO_FPS, crops, datadir
from mome.data.progress import Progress
from mome.encoders import CROP, centre_crop, fast_dtype, normalise
from mome.synthesis import visemes
from mome.training.muon import Muon

EXPECTED = ("ValueError", "FileNotFoundError")  # errors that are reported without a traceback
UNIT = 4  # frames; the length of a batch is a multiple of it, so there are fewer shapes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoSet:
    """A data directory with phones, and the mouth crops of its clips."""

    data_dir: Path
    mouths_dir: Path


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    num_steps: int  # updates of the weights
    batch_frames: int  # about as many frames in an update, over all processes
    learning_rate: float  # the highest
    seed: int


@dataclass
class Clip:
    """One clip in memory."""

    mouth: np.ndarray  # (T, 96, 96) uint8
    phones: np.ndarray  # (T,) class of each frame


def pretrain(
    train_set: VideoSet,
    valid_set: VideoSet,
    out_dir: Path,
    config: AVHuBERTConfig,
    schedule: Schedule,
    num_jobs: int = 1,
) -> None:
    """Train an encoder in `num_jobs` processes, log its accuracy on `valid_set`, and save it.

    Raises FileNotFoundError or ValueError when phones or crops are missing or malformed, or when a
    speaker is in both sets.
    """
    check_speakers(train_set.data_dir, valid_set.data_dir)
    job = (train_set, valid_set, out_dir, config, schedule, num_jobs)
    if num_jobs == 1:
        train(0, *job)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            # Forked processes start at once; spawned ones would import everything again.
            processes.start_processes(
                train, (*job, f"{folder}/meeting"), nprocs=num_jobs, start_method="fork"
            )
        except processes.ProcessRaisedException as error:
            kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
            raise (ValueError(message) if kind in EXPECTED else error) from None


def train(
    rank: int,
    train_set: VideoSet,
    valid_set: VideoSet,
    out_dir: Path,
    config: AVHuBERTConfig,
    schedule: Schedule,
    num_jobs: int,
    meeting: str | None = None,
) -> None:
    """The work of one process; several find each other through the file `meeting`.

    Each draws batches of its own part of the clips; gradients are averaged, so all have the same
    weights. The first one logs for all of them.
    """
    torch.set_num_threads(1)  # two processes are faster than two threads
    # oneDNN prepares a product for each new shape, and remembers fewer of them than there are here.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
    if meeting:
        if rank:
            logging.getLogger().setLevel(logging.WARNING)
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=num_jobs)
    clips = read_clips(train_set, rank, num_jobs)
    torch.manual_seed(schedule.seed)
    encoder = AVHuBERT(config)
    classifier = nn.Linear(encoder.config.dim, len(phone_classes()))
    fit(encoder, classifier, clips, schedule, rank, num_jobs)
    if rank == 0:
        clips = read_clips(valid_set)
        share = accuracy(encoder.eval(), classifier, clips)
        log.info(
            f"{100 * share:.1f} % of the phones of {sum(len(clip.phones) for clip in clips)} frames"
            f" of unseen speakers are right ({valid_set.data_dir})"
        )
        encoder.save(out_dir)
    if meeting:
        dist.barrier()
        dist.destroy_process_group()


# ---- data ---------------------------------------------------------------------------------------


def phone_classes() -> list[str]:
    """The classes, silence included."""
    return sorted({*visemes.VOWELS, *visemes.CONSONANTS, visemes.SILENCE})


def check_speakers(train_dir: Path, valid_dir: Path) -> None:
    """ValueError when a speaker is in both sets."""
    train, valid = (set(datadir.read(path).utt2spk.values()) for path in (train_dir, valid_dir))
    if both := sorted(train & valid):
        raise ValueError(
            f"speaker {both[0]} is in {train_dir} and in {valid_dir}: draw the validation set by "
            "speaker (stage 0)"
        )


def read_clips(video_set: VideoSet, part: int = 0, num_parts: int = 1) -> list[Clip]:
    """Crops and phones of a set, or of a part of it; the log counts the clips without a crop.

    Each part of a set with fewer clips than parts is the whole set.
    """
    phones = datadir.read(video_set.data_dir).phones
    if phones is None:
        raise FileNotFoundError(
            f"{video_set.data_dir / 'phones'} is missing: a video encoder is trained on phone"
            " times, which the mini corpus has (stage 0 of egs/mini)"
        )
    mouths = datadir.read_table(video_set.mouths_dir / "mouths.scp")
    if missing := phones.keys() - mouths.keys():
        log.info(f"{len(missing)} of {len(phones)} clips of {video_set.data_dir} have no crop")
    utterances = sorted(phones.keys() & mouths.keys())
    clips = []
    for utterance in utterances[part::num_parts] if len(utterances) >= num_parts else utterances:
        mouth = crops.read(mouths[utterance])
        clips.append(Clip(mouth, frame_phones(Path(phones[utterance]), len(mouth))))
    if not clips:
        raise ValueError(
            f"{video_set.mouths_dir} has no crop of {video_set.data_dir}: run stage 1 of the recipe"
        )
    return clips


def frame_phones(path: Path, num_frames: int) -> np.ndarray:
    """The class of the phone in the middle of each frame; a stop begins with its closure."""
    phones = []
    for line in path.read_text().splitlines():
        try:
            phone, start, end = line.split()
            phones.append((phone, float(start), float(end)))
        except ValueError:
            raise ValueError(f"{path}: '{line}' is not `phone start end`") from None
    classes = {name: i for i, name in enumerate(phone_classes())}
    labels = np.full(num_frames, classes[visemes.SILENCE])
    times = (np.arange(num_frames) + 0.5) / VIDEO_FPS
    for name, begin, until in visemes.segments(phones):
        labels[(times >= begin) & (times < until)] = classes[name]
    return labels


def batches(
    clips: list[Clip],
    batch_frames: int,
    rng: np.random.Generator,
    shared: np.random.Generator,
    num_jobs: int = 1,
) -> Iterator[list[Clip]]:
    """Endless random batches of clips of similar length, about `batch_frames` frames each.

    `shared` draws the same in all processes: at the same time, they get batches that cost about the
    same, and none waits long. Who has more batches than another leaves some out, each time others.
    """
    lengths = np.array([len(clip.phones) for clip in clips])
    while True:
        order = np.argsort(lengths + rng.uniform(0, 4, len(lengths)), kind="stable")
        groups: list[list[int]] = []
        group: list[int] = []
        for i in order:
            if group and (len(group) + 1) * lengths[i] > batch_frames:
                groups.append(group)
                group = []
            group.append(i)
        groups.append(group)
        groups.sort(key=lambda group: len(group) * max(lengths[group]))
        fewest = torch.tensor(len(groups))
        if num_jobs > 1:
            dist.all_reduce(fewest, dist.ReduceOp.MIN)
        kept = np.sort(rng.choice(len(groups), int(fewest), replace=False))
        for j in kept[shared.permutation(len(kept))]:
            yield [clips[i] for i in groups[j]]


def collate(clips: list[Clip], rng: np.random.Generator | None) -> tuple[Tensor, list[int], Tensor]:
    """Clips -> video (B, 1, T, 88, 88), lengths, phones (B, T) with -1 in the padding.

    With `rng`, each clip is cropped at a random place, mirrored or not, and made brighter or
    darker, and the batch loses its last frames, three at most, so that many batches have the same
    shape. Without, its centre is cropped.
    """
    T = max(len(clip.phones) for clip in clips)
    T -= T % UNIT if rng and T > UNIT else 0
    lengths = [min(len(clip.phones), T) for clip in clips]
    video_B1THW = torch.zeros(len(clips), 1, T, CROP, CROP)
    phones_BT = torch.full((len(clips), T), -1)
    for i, (clip, n) in enumerate(zip(clips, lengths, strict=True)):
        phones_BT[i, :n] = torch.from_numpy(clip.phones[:n])
        if rng is None:
            video_B1THW[i, 0, :n] = normalise(centre_crop(clip.mouth))
            continue
        top, left = (rng.integers(size - CROP + 1) for size in clip.mouth.shape[1:])
        mouth = clip.mouth[:n, top : top + CROP, left : left + CROP]
        mouth = mouth[:, :, ::-1] if rng.random() < 0.5 else mouth
        contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-0.6, 0.6)
        video_B1THW[i, 0, :n] = normalise(mouth) * contrast + brightness
    return video_B1THW, lengths, phones_BT


# ---- training -----------------------------------------------------------------------------------


def fit(
    encoder: nn.Module,
    classifier: nn.Module,
    clips: list[Clip],
    schedule: Schedule,
    rank: int = 0,
    num_jobs: int = 1,
) -> None:
    """Train encoder and classifier together: cross-entropy of each frame's phone."""
    rng = np.random.default_rng([schedule.seed, rank])
    parameters = [*encoder.parameters(), *classifier.parameters()]
    shared = np.random.default_rng([schedule.seed, num_jobs])
    groups = batches(clips, schedule.batch_frames // num_jobs, rng, shared, num_jobs)
    encoder.train()
    dtype, loss_mean = fast_dtype("cpu"), 0.0
    optimizer = Muon(parameters, 0.05, dtype, rank, num_jobs)
    num_steps = schedule.num_steps
    with Progress("video encoder", num_steps, "step") as progress:
        for step in range(num_steps):
            video_B1THW, lengths, phones_BT = collate(next(groups), rng)
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits_BTP = classifier(encoder(video_B1THW, lengths))
            loss = F.cross_entropy(
                logits_BTP.float().flatten(0, 1),
                phones_BT.flatten(),
                ignore_index=-1,
                label_smoothing=0.05,
            )
            loss.backward()
            average([p.grad for p in parameters if p.grad is not None], num_jobs)
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            optimizer.step(schedule.learning_rate * one_cycle(step / num_steps))
            loss_mean += (loss.item() - loss_mean) / min(step + 1, 50)
            if rank == 0:
                progress.set_note(f"loss {loss_mean:.3f}")
                progress.update()
    average([x for x in encoder.buffers() if x.is_floating_point()], num_jobs)


def average(tensors: list[Tensor], num_jobs: int) -> None:
    """Replace each tensor by its mean over the processes."""
    if num_jobs == 1:
        return
    flat = torch.cat([x.flatten() for x in tensors])
    dist.all_reduce(flat)
    for x, part in zip(
        tensors, flat.div_(num_jobs).split([x.numel() for x in tensors]), strict=True
    ):
        x.copy_(part.view_as(x))


def one_cycle(done: float) -> float:
    """Share of the highest learning rate when a share `done` of the steps has been taken."""
    warm = 0.15
    return done / warm + 0.01 if done < warm else 0.5 * (1 + np.cos(np.pi * (done - warm) / 0.85))


def accuracy(encoder: nn.Module, classifier: nn.Module, clips: list[Clip]) -> float:
    """Share of frames whose phone is right."""
    right = total = 0
    with torch.inference_mode():
        for clip in clips:
            video_B1THW, _, phones_BT = collate([clip], None)
            found_BT = classifier(encoder(video_B1THW)).argmax(-1)
            right += int((found_BT == phones_BT).sum())
            total += phones_BT.numel()
    return right / total
