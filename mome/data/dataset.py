"""Frames of utterances -> bucketed, padded batches, the same on every run and after every resume.

A batch holds utterances of like length, as many as fit the frame budget of a device. What is random
about a batch (its members, the noisy copy of an utterance, whose audio is dropped, the scale) comes
from the seed, the epoch and the batch's place in it, never from a state that a restart would lose.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from espnet2.fileio.read_text import read_2columns_text
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from mome.data import ark

FRAME_S = 0.04  # seconds in a frame of the budget
AUDIO_FRAMES = 2  # audio frames (20 ms) in a frame of the budget (40 ms)


@dataclass(frozen=True)
class Pick:
    """An utterance of a batch: which one, which copy of its audio, and whether that is heard."""

    index: int
    copy: int = 0  # 0 clean, 1.. a noisy copy
    audio_kept: bool = True
    seed: tuple[int, ...] = ()  # of what else is random about it, see mome/data/features.py


class Archives:
    """The frames of a feature directory, `dump/feats/<set>/`, as stage 2 wrote them.

    Args:
        feats_dir: with audio.scp and video.scp (those of `streams`), text, utt2num_frames.
        streams: "audio", "video": what the task needs.

    Raises FileNotFoundError or ValueError when a table is missing or the keys differ.
    """

    def __init__(self, feats_dir: str | Path, streams: list[str]):
        self.dir, self.streams = Path(feats_dir), streams
        self.encoders: dict = {}  # none is at work
        self.text = self._table("text")
        self.scps = {s: self._scp(f"{s}.scp") for s in streams}
        self.noisy: list[dict[str, str]] = []
        if "audio" in streams:
            while (self.dir / f"audio_noisy{len(self.noisy) + 1}.scp").exists():
                self.noisy.append(self._scp(f"audio_noisy{len(self.noisy) + 1}.scp"))
        counts = {"audio": "utt2num_frames", "video": "utt2num_video_frames"}
        self.num_frames = {
            s: {u: int(n) for u, n in self._table(counts[s]).items()} for s in streams
        }
        path = self.dir / "feats.json"
        self.info = json.loads(path.read_text()) if path.exists() else {}
        self.store_rate = self.info.get("store_rate", 1)

    @property
    def num_noisy(self) -> int:
        """Noisy copies of each utterance's audio."""
        return len(self.noisy)

    def _table(self, name: str) -> dict[str, str]:
        path = self.dir / name
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: run stage 2 of the recipe to extract features"
            )
        return read_2columns_text(path)

    def _scp(self, name: str) -> dict[str, str]:
        entries = self._table(name)
        if entries.keys() != self.text.keys():
            odd = sorted(entries.keys() ^ self.text.keys())
            raise ValueError(
                f"{self.dir / name} and text differ in {len(odd)} utterances, such as {odd[0]}:"
                " run stage 2 of the recipe again"
            )
        return entries

    @property
    def frame_dims(self) -> dict[str, int]:
        """Width of the frames of each stream, read off an utterance."""
        return {s: ark.load(next(iter(scp.values()))).shape[1] for s, scp in self.scps.items()}

    def frames(self, stream: str, chosen: list[tuple[str, Pick]]) -> list[Tensor]:
        """The frames of utterances, (T_i, width) float32.

        Audio that was stored already averaged is given back at 50 frames a second, each average as
        often as it has frames in it: averages of those are the averages of the frames.
        """
        found = []
        for utterance, pick in chosen:
            noisy = stream == "audio" and pick.copy
            scp = self.noisy[pick.copy - 1] if noisy else self.scps[stream]
            x = ark.load(scp[utterance], utterance)
            if stream == "audio" and self.store_rate > 1:
                x = np.repeat(x, self.store_rate, axis=0)[: self.num_frames[stream][utterance]]
            found.append(torch.from_numpy(x))
        return found


class FeatureDataset(Dataset):
    """Utterances with their text: what training and decoding take batches of.

    Args:
        source: of the frames, `Archives` or `mome.data.features.Online`.
        encode: transcript -> token ids.
    """

    def __init__(self, source: Archives, encode: Callable[[str], list[int]]):
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
        """Utterance -> reason: what no batch can hold, or a rate is too coarse for."""
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
        """Forget some utterances; whoever calls this lists them."""
        self.utterances = [u for u in self.utterances if u not in utterances]

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, pick: int | Pick) -> dict:
        """One utterance: its id, token ids, and (T, width) float32 frames of each stream."""
        pick = Pick(pick) if isinstance(pick, int) else pick
        utterance = self.utterances[pick.index]
        frames = {s: self.source.frames(s, [(utterance, pick)])[0] for s in self.streams}
        return {"utterance": utterance, "text": torch.tensor(self.ids[utterance]), **frames}

    def collate(self, picks: list[int] | list[Pick]) -> dict:
        """A padded batch, as MoMEModel.forward takes it."""
        picks = [Pick(pick) if isinstance(pick, int) else pick for pick in picks]
        utterances = [self.utterances[pick.index] for pick in picks]
        texts = [torch.tensor(self.ids[u]) for u in utterances]
        batch = {
            "utterances": utterances,
            "text": pad_sequence(texts, batch_first=True),
            "text_lengths": torch.tensor([len(t) for t in texts]),
        }
        for s in self.streams:
            frames = self.source.frames(s, list(zip(utterances, picks, strict=True)))
            if isinstance(frames[0], Tensor):
                batch[s] = pad_sequence(frames, batch_first=True)
            else:
                batch["mouths"] = frames  # for the model, which encodes them itself
            batch[f"{s}_lengths"] = torch.tensor([len(x) for x in frames])
        if "audio" in self.streams and not all(pick.audio_kept for pick in picks):
            batch["audio_kept"] = torch.tensor([pick.audio_kept for pick in picks])
        return batch

    def check_encoders(self, trained: dict) -> None:
        """ValueError when the frames come from other encoders than `trained`, their feats.json."""
        for key in ("audio_encoder", "audio_sha256", "video_encoder", "video_sha256"):
            if trained.get(key) != self.source.info.get(key):
                raise ValueError(
                    f"{self.dir} was extracted with {key} {self.source.info.get(key)}, but the"
                    f" model was trained on {trained.get(key)}: run stage 2 with the encoders of"
                    " the training"
                )

    def check_rates(self, rates: list[int]) -> None:
        """ValueError for an audio rate that averages stored at `store_rate` cannot give."""
        store_rate = self.source.store_rate
        if odd := [rate for rate in rates if rate % store_rate]:
            raise ValueError(
                f"{self.dir} holds audio averaged over {store_rate} frames (encoders.store_rate),"
                f" which gives no rate {odd[0]}: choose multiples, or extract with another one"
            )


def plan(lengths: list[int], max_frames: int, rng: np.random.Generator | None) -> list[list[int]]:
    """Cut utterances into batches of like length with `size * longest <= max_frames`.

    With `rng`, lengths are jittered by a tenth before sorting and the batches shuffled, so that
    epochs differ; without, longest first.
    """
    keys = np.asarray(lengths, dtype=float)
    if rng is not None:
        keys = keys * rng.uniform(0.9, 1.1, len(keys))
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


@dataclass(frozen=True)
class Sampler:
    """The endless stream of training batches, cut into steps and devices.

    Batch k of the stream goes to step k // (accumulation * world), so every device has as many as
    every other, and none is dropped or doubled at the end of an epoch.
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
    scales: tuple[str, ...] = ()  # to draw from
    scales_per_step: int = 0  # 0: all

    def steps(self, start: int = 0) -> Iterator[list[tuple[list[Pick], list[str] | None]]]:
        """From step `start` on: the batches of this device, each with the scales to train it at."""
        per_step = self.accumulation * self.world
        k, step = 0, []
        for epoch in range(10**9):
            batches = plan(self.lengths, self.max_frames, np.random.default_rng([self.seed, epoch]))
            if k + len(batches) <= start * per_step:
                k += len(batches)
                continue
            for place, indices in enumerate(batches):
                if k >= start * per_step and k % self.world == self.rank:
                    step.append(self._draw(indices, (self.seed, epoch, place)))
                k += 1
                if len(step) == self.accumulation:
                    yield step
                    step = []

    def describe(self) -> str:
        """What a step is made of, in one line: the most it can hold and what it does hold."""
        batches = plan(self.lengths, self.max_frames, np.random.default_rng([self.seed, 0]))
        per_step = self.world * self.accumulation
        steps = len(batches) / per_step  # in an epoch
        return (
            f"a step: {self.world} device(s) x {self.accumulation} batch(es) x at most"
            f" {self.max_frames} frames of 40 ms = {_media(per_step * self.max_frames)} of media;"
            f" on average {_media(sum(self.lengths) / steps)} in {len(self.lengths) / steps:.1f}"
            f" utterances, without padding; {steps:.1f} steps an epoch"
        )

    def _draw(
        self, indices: list[int], seed: tuple[int, ...]
    ) -> tuple[list[Pick], list[str] | None]:
        picks, rng = [], np.random.default_rng(seed)
        for index in indices:
            noisy, copy = rng.random() < self.noisy_share, rng.integers(max(self.num_noisy, 1))
            kept = rng.random() >= self.audio_dropout
            copy = int(copy) + 1 if noisy and self.num_noisy else 0
            picks.append(Pick(index, copy, bool(kept), (*seed, index)))
        if not self.scales_per_step:
            return picks, None
        scales = rng.choice(len(self.scales), self.scales_per_step, replace=False)
        return picks, [self.scales[i] for i in sorted(scales)]


def _media(frames: float) -> str:
    """9.6 s or 16.0 min."""
    seconds = frames * FRAME_S
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def to_device(batch: dict, device: torch.device) -> dict:
    """The tensors of a batch on a device; the rest as it is."""
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
