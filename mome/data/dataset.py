"""Frames of utterances -> bucketed, padded batches, the same on every run and after every resume.

A batch holds utterances of similar length, as many as fit the frame budget of a device. Its random
part (its members, the noisy copy of an utterance, whose audio is dropped, the scale) depends on the
seed, the epoch and the batch's place in it, and on no state that a restart would lose.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mome.data import AUDIO_FPS, VIDEO_FPS

FRAME_S = 1 / VIDEO_FPS  # seconds in a frame of the budget
AUDIO_FRAMES = AUDIO_FPS // VIDEO_FPS  # audio frames (20 ms) in a frame of the budget (40 ms)
JITTER = 0.03  # of a length, for batches that differ between epochs and have 2 % of padding
FRAMES_BESIDE = 30  # what the prompt and the text of an utterance cost, in such frames, about


@dataclass(frozen=True)
class Pick:
    """An utterance of a batch: which one, which copy of its audio, and which streams are kept."""

    index: int
    copy: int = 0  # 0 clean; 1, 2, ... a noisy copy
    audio_kept: bool = True
    video_kept: bool = True
    seed: tuple[int, ...] = ()  # of the augmentation, see mome/data/features.py


Draw = tuple[list[Pick], list[str] | None]  # a batch, and the scales to train it at; None: all


@runtime_checkable
class FrameSource(Protocol):
    """Where the frames of a set come from: `Archives` or `Online` of mome/data/features.py."""

    dir: Path  # the folder of the set
    streams: list[str]  # "audio", "video": those that it gives
    text: dict[str, str]  # transcript of each utterance of the set
    scps: dict[str, dict[str, str]]  # by stream and utterance: a media file or an archive's entry
    num_frames: dict[str, dict[str, int]]  # by stream and utterance; a second has 50 and 25
    num_noisy: int  # noisy copies of the audio that a pick may ask for
    store_rate: int  # audio frames that were averaged into one on disk
    info: dict[str, Any]  # what made the frames, as in feats.json
    encoders: dict[str, Any]  # by stream, the encoders that run now; none for frames on disk
    frame_dims: dict[str, int]  # width of the frames of each stream

    def frames(self, stream: str, chosen: list[tuple[str, Pick]]) -> list[Tensor]:
        """The frames of utterances as their picks ask for them, (T_i, width) float32."""

    def batch_entries(self, stream: str, chosen: list[tuple[str, Pick]]) -> dict[str, Any]:
        """What a batch holds of a stream before `encoded`; a process without a device reads it."""

    def encoded(self, batch: dict) -> dict:
        """The batch under the keys that MoMEModel takes: frames in place of media to encode."""


class FeatureDataset:
    """Utterances with their text, of which training and decoding take batches.

    Args:
        source: gives the frames.
        encode: transcript -> token ids.
    """

    def __init__(self, source: FrameSource, encode: Callable[[str], list[int]]):
        self.source, self.dir, self.streams = source, source.dir, source.streams
        self.num_frames = source.num_frames
        self.utterances = sorted(source.text)
        self.ids = {u: encode(t) for u, t in source.text.items()}

    def length(self, index: int) -> int:
        """Frames of 40 ms of an utterance, the longer of its streams."""
        utterance = self.utterances[index]
        counts = [
            -(-self.num_frames[s][utterance] // (AUDIO_FRAMES if s == "audio" else 1))
            for s in self.streams
        ]
        return max(counts)

    def unusable(self, max_frames: int, audio_rate: int, video_rate: int) -> dict[str, str]:
        """Utterance -> reason: those too long for any batch, or too short for a rate."""
        reasons = {}
        rates = {"audio": audio_rate, "video": video_rate}
        for index, utterance in enumerate(self.utterances):
            if self.length(index) > max_frames:
                reasons[utterance] = (
                    f"{self.length(index)} frames of 40 ms are more than train.max_frames"
                    f" {max_frames}"
                )
            for s in self.streams:
                if self.num_frames[s][utterance] < rates[s]:
                    reasons[utterance] = (
                        f"{s} rate {rates[s]} needs at least {rates[s]} frames, got"
                        f" {self.num_frames[s][utterance]}"
                    )
        return reasons

    def leave_out(self, utterances: set[str]) -> None:
        """Drop some utterances; the caller reports them."""
        self.utterances = [u for u in self.utterances if u not in utterances]

    def __len__(self) -> int:
        return len(self.utterances)

    def collate(self, picks: list[int] | list[Pick]) -> dict:
        """A padded batch, as MoMEModel.forward takes it."""
        return self.source.encoded(self.read(picks))

    def read(self, picks: list[int] | list[Pick]) -> dict:
        """The part of `collate` that needs no device."""
        picks = [Pick(pick) if isinstance(pick, int) else pick for pick in picks]
        utterances = [self.utterances[pick.index] for pick in picks]
        texts = [torch.tensor(self.ids[u]) for u in utterances]
        batch: dict[str, Any] = {
            "utterances": utterances,
            "text": pad_sequence(texts, batch_first=True),
            "text_lengths": torch.tensor([len(t) for t in texts]),
        }
        for s in self.streams:
            batch |= self.source.batch_entries(s, list(zip(utterances, picks, strict=True)))
            kept = [getattr(pick, f"{s}_kept") for pick in picks]
            if not all(kept):
                batch[f"{s}_kept"] = torch.tensor(kept)
        return batch

    def num_targets(self, picks: list[Pick]) -> int:
        """Text tokens of a batch, an EOS for each utterance included."""
        return sum(len(self.ids[self.utterances[pick.index]]) + 1 for pick in picks)

    def check_encoders(self, trained: dict[str, Any]) -> None:
        """ValueError when the frames were made in another way than `trained`, a feats.json, says.

        Only the streams that the task reads are compared. Encoders with equal weights are the same,
        wherever their folders are.
        """
        keys = []
        for s in self.streams:
            hashed = trained.get(f"{s}_sha256") and self.source.info.get(f"{s}_sha256")
            keys.append(f"{s}_sha256" if hashed else f"{s}_encoder")
        for key in keys + (["pad_to_30s"] if "audio" in self.streams else []):
            found, wanted = self.source.info.get(key), trained.get(key)
            if (found or None) != (wanted or None):
                raise ValueError(
                    f"{self.dir} was extracted with {key} {found}, but the model was trained on"
                    f" {wanted}: run stage 2 with the encoders of the training run"
                )

    def check_rates(self, rates: list[int]) -> None:
        """ValueError for an audio rate that is no multiple of the stored rate, `store_rate`."""
        store_rate = self.source.store_rate
        if odd := [rate for rate in rates if rate % store_rate]:
            raise ValueError(
                f"{self.dir} holds audio averaged over {store_rate} frames (encoders.store_rate),"
                f" which gives no rate {odd[0]}: choose multiples, or extract with another one"
            )


def plan(lengths: list[int], max_frames: int, rng: np.random.Generator | None) -> list[list[int]]:
    """Cut utterances into batches of similar length with `size * longest <= max_frames`.

    With `rng`, lengths are jittered before they are sorted, and the batches are shuffled, so that
    epochs differ; without it, the longest come first.
    """
    keys = np.asarray(lengths, dtype=float)
    if rng is not None:
        keys = keys * rng.uniform(1 - JITTER, 1 + JITTER, len(keys))
    batches: list[list[int]] = []
    longest = 0
    for index in np.argsort(-keys, kind="stable").tolist():
        longest = max(longest, lengths[index])
        if batches and (len(batches[-1]) + 1) * longest <= max_frames:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


def deal(
    batches: list[list[int]], costs: list[int], size: int, begun: int, rng: np.random.Generator
) -> list[list[int]]:
    """An epoch's batches in an order in which the `size` batches of a step cost about the same.

    The first ones complete a step of which `begun` batches are of the epoch before; they and those
    that are left at the end are the cheapest. The other steps come in random order.
    """
    order = np.argsort(costs, kind="stable")
    first, order = np.split(order, [-begun % size])
    last, order = np.split(order, [len(order) % size])
    steps = rng.permuted(rng.permutation(order.reshape(-1, size)), axis=1)
    return [batches[i] for i in (*first, *steps.flat, *last)]


@dataclass(frozen=True)
class Sampler:
    """The endless stream of training batches, cut into steps and devices.

    Batch k of the stream goes to step k // (accumulation * world). So all devices have equally many
    batches, and none is dropped or repeated at the end of an epoch. The batches of a step cost
    about the same: no device waits long for another one.
    """

    lengths: list[int]
    max_frames: int
    seed: int
    rank: int = 0
    world: int = 1
    accumulation: int = 1
    num_noisy: int = 0
    noisy_share: float = 0.0
    audio_dropout: float = 0.0
    video_dropout: float = 0.0  # of those with audio
    scales: tuple[str, ...] = ()  # to draw from
    scales_per_step: int = 0  # 0: all
    scale_odds: tuple[float, ...] = ()  # how often each is drawn, relative to the others

    def steps(self, start: int = 0) -> Iterator[list[Draw]]:
        """From step `start` on: this device's batches."""
        per_step = self.accumulation * self.world
        k, step = 0, []
        for epoch in range(10**9):
            batches = self._plan(epoch, k)
            if k + len(batches) <= start * per_step:
                k += len(batches)
                continue
            for place, indices in enumerate(batches):
                if k >= start * per_step and k % self.world == self.rank:
                    step.append(
                        (
                            self._pick(indices, (self.seed, epoch, place)),
                            self._scales(k // per_step),
                        )
                    )
                k += 1
                if len(step) == self.accumulation:
                    yield step
                    step = []

    def epoch_ends(self, num_epochs: int) -> list[int]:
        """How many steps have been taken at the end of each of the first epochs.

        A step that ends an epoch may begin the next one, so that no utterance is left out.
        """
        counts = [len(self._plan(epoch)) for epoch in range(num_epochs)]
        return [-(-k // (self.accumulation * self.world)) for k in itertools.accumulate(counts)]

    def _plan(self, epoch: int, before: int = 0) -> list[list[int]]:
        """The batches of an epoch, of all devices, after those `before` it."""
        rng = np.random.default_rng([self.seed, epoch])
        batches = plan(self.lengths, self.max_frames, rng)
        if self.world * self.accumulation == 1:
            return batches
        costs = [len(b) * (max(self.lengths[i] for i in b) + FRAMES_BESIDE) for b in batches]
        return deal(batches, costs, self.world * self.accumulation, before, rng)

    def describe(self) -> str:
        """One line about a step: the most that it can hold, and what it holds on average."""
        per_step = self.world * self.accumulation
        steps = len(self._plan(0)) / per_step  # in an epoch
        return (
            f"a step: {self.world} device(s) x {self.accumulation} batch(es) x at most"
            f" {self.max_frames} frames of 40 ms = {_media(per_step * self.max_frames)} of media;"
            f" on average {_media(sum(self.lengths) / steps)} in {len(self.lengths) / steps:.1f}"
            f" utterances, without padding; {steps:.1f} steps an epoch"
        )

    def _pick(self, indices: list[int], seed: tuple[int, ...]) -> list[Pick]:
        """How each utterance of a batch is picked."""
        picks, rng = [], np.random.default_rng(seed)
        for index in indices:
            noisy = rng.random() < self.noisy_share
            copy = int(rng.integers(max(self.num_noisy, 1)))
            heard = bool(rng.random() >= self.audio_dropout)
            dropped = heard and self.video_dropout and rng.random() < self.video_dropout
            copy = copy + 1 if noisy and self.num_noisy else 0
            picks.append(Pick(index, copy, heard, not dropped, (*seed, index)))
        return picks

    def _scales(self, step: int) -> list[str] | None:
        """The scales of a step. A device at a coarser one would wait for the others."""
        if not self.scales_per_step:
            return None
        odds = np.array(self.scale_odds or [1.0] * len(self.scales))
        rng = np.random.default_rng([self.seed, len(self.scales), step])
        chosen = rng.choice(len(odds), self.scales_per_step, replace=False, p=odds / odds.sum())
        return [self.scales[i] for i in sorted(chosen)]


def _media(frames: float) -> str:
    """9.6 s or 16.0 min."""
    seconds = frames * FRAME_S
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def to_device(batch: dict, device: torch.device) -> dict:
    """Start to copy the tensors of a batch to a device.

    Lengths stay on the CPU, where they are read; the device would have to be waited for.
    """
    return {
        key: value.to(device, non_blocking=True)
        if isinstance(value, torch.Tensor) and not key.endswith("_lengths")
        else value
        for key, value in batch.items()
    }
