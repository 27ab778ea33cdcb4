"""Train a small AV-HuBERT on the phone of each frame: python -m mome.bin.pretrain_video ...

AV-HuBERT learns clusters of frames; where phone times are known, as in the mini corpus, phones
teach a small one to read lips in minutes on a CPU. Stage 2 of the mini recipe. The encoder is
frozen afterwards; its last layer, normalised, is what the LLM gets.

Writes OUT_DIR/{config.json,model.safetensors}; logs the share of frames whose phone is right, on
the validation set, whose speakers the training must not have.

Shape key
    B  batch    T  frames, 25 a second    H W  height, width    P  phones
"""

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mome import files
from mome.bin import Parser, run, start_logging

FORMAT = 1
FRAME_RATE = 25  # pictures a second
SMALL = {
    "dim": 256,
    "ffn_dim": 768,
    "num_layers": 2,
    "num_heads": 4,
    "position_kernel": 16,
    "position_groups": 8,
    "frontend_dim": 16,
    "frontend_stride": 4,
    "resnet_dims": [24, 48, 96],
    "resnet_blocks": [1, 1, 1],
    "relu": "relu",
    "audio_dim": 0,
}
TOLD = ("ValueError", "FileNotFoundError")  # errors of a process that are told as ours
log = logging.getLogger(__name__)


@dataclass
class Clip:
    """One clip in memory."""

    mouth: np.ndarray  # (T, 96, 96) uint8
    phones: np.ndarray  # (T,) class of each frame


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    inputs = {
        "format": FORMAT,
        "options": {k: str(v) for k, v in vars(args).items() if k not in ("out_dir",)},
        "config": files.digest(args.config) if args.config else SMALL,
        "data": {
            str(path): [files.digest(path / name) for name in names]
            for data_dir, mouths_dir in (
                (args.train_data_dir, args.train_mouths_dir),
                (args.valid_data_dir, args.valid_mouths_dir),
            )
            for path, names in (
                (data_dir, ["phones", "utt2spk", files.STAMP]),
                (mouths_dir, ["mouths.scp", files.STAMP]),
            )
        },
    }
    if files.up_to_date(args.out_dir, inputs):
        log.info("%s is up to date", args.out_dir)
        return
    files.clear_stamp(args.out_dir)

    check_speakers(args.train_data_dir, args.valid_data_dir)

    import torch.multiprocessing as processes

    from mome.avhubert import AVHuBERTConfig

    config = AVHuBERTConfig.from_file(args.config) if args.config else AVHuBERTConfig(**SMALL)
    if args.num_jobs == 1:
        train(0, args, config)
    else:
        with tempfile.TemporaryDirectory() as meeting:
            try:
                processes.spawn(train, (args, config, f"{meeting}/file"), nprocs=args.num_jobs)
            except processes.ProcessRaisedException as error:
                kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
                raise (ValueError(message) if kind in TOLD else error) from None
    files.write_stamp(args.out_dir, inputs)


def train(rank: int, args: argparse.Namespace, config, meeting: str | None = None) -> None:
    """What each of `num_jobs` processes does; several meet at the file `meeting`.

    Each has its own share of the clips; gradients are averaged, so the weights are the same.
    """
    import torch
    import torch.distributed as dist

    from mome.avhubert import AVHuBERT

    torch.set_num_threads(1)  # two processes are faster than two threads
    if meeting:
        if rank == 0:
            start_logging()
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=args.num_jobs)
    clips = read_clips(args.train_data_dir, args.train_mouths_dir, rank, args.num_jobs)
    torch.manual_seed(args.seed)
    encoder = AVHuBERT(config)
    classifier = torch.nn.Linear(encoder.config.dim, len(phone_classes()))
    fit(encoder, classifier, clips, args, rank)
    if rank == 0:
        clips = read_clips(args.valid_data_dir, args.valid_mouths_dir)
        share = accuracy(encoder.eval(), classifier, clips)
        log.info(
            "%.1f %% of the phones of %d frames of unseen speakers are right (%s)",
            100 * share,
            sum(len(clip.phones) for clip in clips),
            args.valid_data_dir,
        )
        encoder.save(args.out_dir)
    if meeting:
        dist.barrier()
        dist.destroy_process_group()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    for name in ("train_data_dir", "train_mouths_dir", "valid_data_dir", "valid_mouths_dir"):
        parser.add_argument(name, type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--config", type=Path, help="JSON of AVHuBERTConfig; default: a small one")
    parser.add_argument("--num_steps", type=int, default=2400, help="updates of the weights")
    parser.add_argument("--batch_frames", type=int, default=320, help="frames in an update, about")
    parser.add_argument("--learning_rate", type=float, default=2e-3, help="the highest")
    parser.add_argument(
        "--num_jobs",
        type=int,
        default=2,
        help="processes that share each update; other weights come out with another number",
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    if min(args.num_steps, args.batch_frames, args.num_jobs) < 1:
        parser.error("--num_steps, --batch_frames and --num_jobs must be at least 1")
    return args


# ---- data ---------------------------------------------------------------------------------------


def phone_classes() -> list[str]:
    """The classes, silence included."""
    from mome.synthesis import visemes

    return sorted({*visemes.VOWELS, *visemes.CONSONANTS, visemes.SILENCE})


def check_speakers(train_dir: Path, valid_dir: Path) -> None:
    """ValueError when a speaker is on both sides."""
    from mome.data import datadir

    train, valid = (set(datadir.read(path).utt2spk.values()) for path in (train_dir, valid_dir))
    if both := sorted(train & valid):
        raise ValueError(
            f"speaker {both[0]} is in {train_dir} and in {valid_dir}: draw the validation set by "
            "speaker (stage 0)"
        )


def read_clips(data_dir: Path, mouths_dir: Path, index: int = 0, step: int = 1) -> list[Clip]:
    """Crops and phones of every `step`-th utterance; clips without a crop are left out, told."""
    from tqdm import tqdm

    from mome.data import datadir, video

    phones = datadir.read(data_dir).phones
    if phones is None:
        raise FileNotFoundError(
            f"{data_dir / 'phones'} is missing: a video encoder is trained on phone times, which "
            "the mini corpus has (stage 0 of egs/mini)"
        )
    mouths = datadir.read_table(mouths_dir / "mouths.scp")
    if missing := sorted(phones.keys() - mouths.keys()):
        log.info("%d of %d clips of %s have no crop", len(missing), len(phones), data_dir)
    clips = []
    for utterance in tqdm(
        sorted(phones.keys() & mouths.keys()), desc=f"read {mouths_dir}", disable=None
    ):
        mouth = video.read_mouth(mouths[utterance])
        clips.append(Clip(mouth, frame_phones(Path(phones[utterance]), len(mouth))))
    if not clips:
        raise ValueError(f"{mouths_dir} has too few crops of {data_dir}: run stage 1")
    return clips


def frame_phones(path: Path, num_frames: int) -> np.ndarray:
    """The class of the phone in the middle of each frame; a stop begins with its closure."""
    from mome.synthesis import visemes

    phones = []
    for line in path.read_text().splitlines():
        try:
            phone, start, end = line.split()
            phones.append((phone, float(start), float(end)))
        except ValueError:
            raise ValueError(f"{path}: '{line}' is not `phone start end`") from None
    classes = {name: i for i, name in enumerate(phone_classes())}
    labels = np.full(num_frames, classes[visemes.SILENCE])
    times = (np.arange(num_frames) + 0.5) / FRAME_RATE
    for name, start, end in visemes.segments(phones):
        labels[(times >= start) & (times < end)] = classes[name]
    return labels


def batches(clips: list[Clip], batch_frames: int, rng: np.random.Generator):
    """Endless batches of clips of like length, about `batch_frames` frames each, by `rng`."""
    lengths = np.array([len(clip.phones) for clip in clips])
    while True:
        order = np.argsort(lengths + rng.uniform(0, 4, len(lengths)), kind="stable")
        groups, group = [], []
        for i in order:
            if group and (len(group) + 1) * lengths[i] > batch_frames:
                groups.append(group)
                group = []
            group.append(i)
        groups.append(group)
        for j in rng.permutation(len(groups)):
            yield [clips[i] for i in groups[j]]


def collate(clips: list[Clip], rng: np.random.Generator | None):
    """Clips -> video (B, 1, T, 88, 88), lengths, phones (B, T) with -1 in the padding.

    With `rng`, each clip is cropped elsewhere, mirrored and lit differently; without, its centre.
    """
    import torch

    from mome.encoders import CROP, centre_crop, normalise

    T = max(len(clip.phones) for clip in clips)
    video_B1THW = torch.zeros(len(clips), 1, T, CROP, CROP)
    phones_BT = torch.full((len(clips), T), -1)
    for i, clip in enumerate(clips):
        n = len(clip.phones)
        phones_BT[i, :n] = torch.from_numpy(clip.phones)
        if rng is None:
            video_B1THW[i, 0, :n] = normalise(centre_crop(clip.mouth))
            continue
        top, left = (rng.integers(size - CROP + 1) for size in clip.mouth.shape[1:])
        mouth = clip.mouth[:, top : top + CROP, left : left + CROP]
        mouth = mouth[:, :, ::-1] if rng.random() < 0.5 else mouth
        contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-0.6, 0.6)
        video_B1THW[i, 0, :n] = normalise(mouth) * contrast + brightness
    return video_B1THW, [len(clip.phones) for clip in clips], phones_BT


# ---- training -----------------------------------------------------------------------------------


def fit(encoder, classifier, clips: list[Clip], args: argparse.Namespace, rank: int = 0) -> None:
    """Train encoder and classifier together: cross-entropy of each frame's phone."""
    import torch
    import torch.nn.functional as F
    from tqdm import trange

    from mome.encoders import fast_dtype

    rng = np.random.default_rng([args.seed, rank])
    parameters = [*encoder.parameters(), *classifier.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=0.0, weight_decay=0.05, betas=(0.9, 0.98), fused=True
    )
    groups = batches(clips, args.batch_frames // args.num_jobs, rng)
    encoder.train()
    dtype, start, loss_mean = fast_dtype("cpu"), time.monotonic(), 0.0
    for step in (bar := trange(args.num_steps, unit="step", disable=None if rank == 0 else True)):
        optimizer.param_groups[0]["lr"] = args.learning_rate * one_cycle(step / args.num_steps)
        video_B1THW, lengths, phones_BT = collate(next(groups), rng)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits_BTP = classifier(encoder(video_B1THW, lengths))
        loss = F.cross_entropy(logits_BTP.float().flatten(0, 1), phones_BT.flatten(),
                               ignore_index=-1, label_smoothing=0.05)  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average([p.grad for p in parameters], args.num_jobs)
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        loss_mean += (loss.item() - loss_mean) / min(step + 1, 50)
        bar.set_postfix(loss=f"{loss_mean:.3f}", refresh=False)
        if rank == 0 and step % 200 == 199:
            log.info("step %d loss %.3f, %.0f s", step + 1, loss_mean, time.monotonic() - start)
    average([x for x in encoder.buffers() if x.is_floating_point()], args.num_jobs)


def average(tensors: list, num_jobs: int) -> None:
    """Replace each tensor by its mean over the processes."""
    import torch
    import torch.distributed as dist

    if num_jobs == 1:
        return
    flat = torch.cat([x.flatten() for x in tensors])
    dist.all_reduce(flat)
    for x, part in zip(
        tensors, flat.div_(num_jobs).split([x.numel() for x in tensors]), strict=True
    ):
        x.copy_(part.view_as(x))


def one_cycle(done: float) -> float:
    """Share of the highest learning rate after a share `done` of the training."""
    warm = 0.15
    return done / warm + 0.01 if done < warm else 0.5 * (1 + np.cos(np.pi * (done - warm) / 0.85))


def accuracy(encoder, classifier, clips: list[Clip]) -> float:
    """Share of frames whose phone is right."""
    import torch

    right = total = 0
    with torch.inference_mode():
        for clip in clips:
            video_B1THW, _, phones_BT = collate([clip], None)
            found_BT = classifier(encoder(video_B1THW)).argmax(-1)
            right += int((found_BT == phones_BT).sum())
            total += phones_BT.numel()
    return right / total


if __name__ == "__main__":
    run(main)
