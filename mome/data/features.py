"""Where frames come from: archives that stage 2 wrote, or frozen encoders that run now (MoME A.3).

Both are a `FrameSource` (mome/data/dataset.py). `Archives` is fast and always gives the same
frames. `Online` is slower, takes no disk, and can augment its input: each time an utterance comes
up, its audio is masked and then left clean or mixed with new noise, and its mouth is cropped at
another place, mirrored or not, and masked. What is random comes from the seed of the pick, so a
training run that is killed and resumed gives the same numbers.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mome import encoders
from mome.config import EncodersConfig
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS, ark, augment, crops, datadir, featdir
from mome.data.dataset import FrameSource, Pick
from mome.data.noise import Noise, waveform

READERS = 8  # threads
FPS = {"audio": AUDIO_FPS, "video": VIDEO_FPS}
SEEDS = {"audio": 0, "video": 1}  # last number of a seed: the streams draw independently


class Archives:
    """The frames of a feature directory, `dump/feats/<set>/`, as stage 2 wrote them.

    Args:
        feats_dir: with audio.scp and video.scp (those of `streams`), text, utt2num_frames.
        streams: "audio", "video": what the task needs.

    Raises FileNotFoundError or ValueError when a table is missing or the keys differ.
    """

    def __init__(self, feats_dir: str | Path, streams: list[str]):
        self.tables = found = featdir.read(feats_dir, streams)
        self.dir, self.streams, self.text = found.dir, streams, found.text
        self.encoders: dict[str, Any] = {}  # none runs
        self.scps, self.noisy, self.num_frames = dict(found.scps), found.noisy, found.num_frames
        self.num_noisy, self.info, self.store_rate = len(self.noisy), found.info, found.store_rate
        self.frame_dims = {s: self.info.get(f"{s}_dim") or self._first_dim(s) for s in streams}

    def _first_dim(self, stream: str) -> int:
        utterance, entry = next(iter(self.scps[stream].items()))
        return ark.load(entry, utterance).shape[1]

    def frames(self, stream: str, chosen: list[tuple[str, Pick]]) -> list[Tensor]:
        """The frames of utterances as their picks ask for them, (T_i, width) float32.

        Audio that was stored averaged comes at 50 frames a second again: each average is repeated
        for every frame that is in it, so that averages over more frames are exact.
        """
        found = []
        for utterance, pick in chosen:
            noisy = stream == "audio" and pick.copy
            scp = self.noisy[pick.copy - 1] if noisy else self.scps[stream]
            x = ark.load(scp[utterance], utterance)
            own = bool(noisy) or scp is self.tables.scps[stream]  # not another utterance's video
            self._check(stream, utterance, x, own, scp[utterance])
            if stream == "audio" and self.store_rate > 1:
                x = np.repeat(x, self.store_rate, axis=0)[: self.num_frames[stream][utterance]]
            found.append(torch.from_numpy(x))
        return found

    def _check(self, stream: str, utterance: str, x: np.ndarray, own: bool, entry: str) -> None:
        """Raise ValueError when frames have another shape than the tables say."""
        rate = self.store_rate if stream == "audio" else 1
        expected = -(-self.num_frames[stream][utterance] // rate) if own else len(x)
        dim = self.frame_dims[stream]
        if x.shape != (expected, dim):
            raise ValueError(
                f"{entry}: the {stream} of {utterance} has {len(x)} frames of width {x.shape[1]},"
                f" but {self.dir}/{featdir.COUNTS[stream]} and feats.json say {expected} of width"
                f" {dim}: {featdir.REMEDY}"
            )

    def batch_entries(self, stream: str, chosen: list[tuple[str, Pick]]) -> dict[str, Any]:
        """The padded frames, and how many each utterance has."""
        return padded(stream, self.frames(stream, chosen))

    def encoded(self, batch: dict) -> dict:
        """The batch itself: it holds frames already."""
        return batch


class Online:
    """The frames of a data directory, `data/<set>/`, encoded when they are asked for.

    Args:
        data_dir: the set.
        mouths_dir: its mouth crops, `dump/mouths/<set>`; not read for a task without video.
        streams: "audio", "video": what the task needs.
        config: the encoders, and how their input is augmented.
        device: where they run.
        augmented: as for training; else centre crops, clean audio, no masks.
        ready: encoders that are loaded already, by stream.

    A video encoder with LoRA is trained by the model: batches then hold the mouths themselves,
    under the key "mouths", and the model encodes them.

    Raises FileNotFoundError or ValueError when a table, an encoder or a crop is missing.
    """

    num_noisy = 1  # one kind of copy, in new noise each time
    store_rate = 1

    def __init__(
        self,
        data_dir: str | Path,
        mouths_dir: str | Path | None,
        streams: list[str],
        config: EncodersConfig,
        device: str | torch.device = "cpu",
        augmented: bool = True,
        ready: dict[str, Any] | None = None,
    ):
        self.dir, self.streams, self.config = Path(data_dir), streams, config
        self.data = datadir.read(data_dir)
        self.text = self.data.text
        self.augmented, self.scps = augmented, {"audio": self.data.wav}
        if "video" in streams:
            if mouths_dir is None:
                raise ValueError(
                    f"the videos of {data_dir} are to be encoded now, but no folder of mouth crops"
                    " is given: give dump/mouths/<set> as --train_mouths or --valid_mouths"
                )
            self.scps["video"], _ = datadir.with_mouths(self.data, mouths_dir)
            self.text = {u: self.text[u] for u in self.scps["video"]}
        self.encoders: dict[str, Any] = dict(ready or {})
        missing = [s for s in streams if s not in self.encoders]
        self.encoders |= load_encoders(missing, config, device)
        self.frame_dims = {s: encoder.dim for s, encoder in self.encoders.items()}
        self.info: dict[str, Any] = {"features": "online", "pad_to_30s": config.pad_to_30s}
        for stream, encoder in self.encoders.items():
            self.info |= {f"{stream}_{k}": v for k, v in encoders.about(encoder).items()}
        self.noise = Noise(config.noise, config.snrs, self.data, noise_dir=config.noise_dir or None)
        self.num_frames = {  # for planning; the media themselves are read when they come up
            s: {u: max(1, round(self.data.utt2dur[u] * FPS[s])) for u in self.text} for s in streams
        }

    def frames(self, stream: str, chosen: list[tuple[str, Pick]]) -> list[Tensor]:
        """Encode utterances now, as their picks ask: (T_i, width) float32."""
        return self.encoders[stream](self.media(stream, chosen))

    def batch_entries(self, stream: str, chosen: list[tuple[str, Pick]]) -> dict[str, Any]:
        """The media as a list, and the number of frames of video."""
        media = self.media(stream, chosen)
        if stream == "audio":
            return {"sounds": media}
        return {"mouths": media, "video_lengths": torch.tensor([len(x) for x in media])}

    def encoded(self, batch: dict) -> dict:
        """The batch with frames in place of media, but for mouths that the model encodes."""
        for stream, media in (("audio", "sounds"), ("video", "mouths")):
            trained = stream == "video" and self.config.video_lora_rank
            if media in batch and not trained:
                batch = batch | padded(stream, self.encoders[stream](batch[media]))
                del batch[media]
        return batch

    def media(self, stream: str, chosen: list[tuple[str, Pick]]) -> list[np.ndarray]:
        """The encoder's input: what `sound` or `mouth` gives for each utterance."""
        read = self.sound if stream == "audio" else self.mouth
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(lambda pair: read(*pair), chosen))

    def sound(self, utterance: str, pick: Pick) -> np.ndarray:
        """The waveform, masked or not, then in noise if the pick asks for a noisy copy."""
        speech = waveform(self.scps["audio"][utterance])
        if not self.augmented:
            return speech
        rng = np.random.default_rng((*pick.seed, SEEDS["audio"]))
        masked = augment.mask_time(speech, SAMPLE_RATE, self.config.audio_mask_s, rng)
        if masked.any():  # a short clip may be masked as a whole: silence has no SNR
            speech = masked
        if not pick.copy:
            return speech
        return self.noise.add(speech, self.data.utt2spk[utterance], rng)[0]

    def mouth(self, utterance: str, pick: Pick) -> np.ndarray:
        """The mouth, (T, H, W) uint8, augmented or not."""
        mouth = crops.read(self.scps["video"][utterance])
        if not self.augmented:
            return mouth
        rng = np.random.default_rng((*pick.seed, SEEDS["video"]))
        if self.config.random_crop:
            mouth = augment.random_crop(mouth, encoders.CROP, rng)
        if rng.random() < self.config.mirror_share:
            mouth = augment.mirror(mouth)
        return augment.mask_time(mouth, VIDEO_FPS, self.config.video_mask_s, rng)


def load_encoders(
    streams: list[str], config: EncodersConfig, device: str | torch.device
) -> dict[str, nn.Module]:
    """The frozen encoder of each stream; the video encoder has LoRA if `config` asks for it."""
    found: dict[str, nn.Module] = {}
    if "audio" in streams:
        found["audio"] = encoders.load_audio_encoder(config.audio, device, config.pad_to_30s)
    if "video" in streams:
        found["video"] = encoder = encoders.load_video_encoder(config.video, device)
        if config.video_lora_rank:
            encoder.add_lora(config.video_lora_rank, config.video_lora_alpha)
    return found


def open_source(
    set_dir: Path,
    mouths_dir: Path | None,
    streams: list[str],
    config: EncodersConfig,
    device: str | torch.device,
    augmented: bool = False,
    ready: dict[str, Any] | None = None,
) -> FrameSource:
    """`Online` for a data directory, `Archives` for a feature directory; arguments as for `Online`.

    Raises ValueError when the directory is not of the kind that `config` asks for.
    """
    online = (set_dir / "wav.scp").exists()
    wanted = config.features == "online" if augmented else config.video_lora_rank > 0
    if set_dir.exists() and online != wanted:
        kinds = {True: "data directory (data/<set>)", False: "feature directory (dump/feats/<set>)"}
        raise ValueError(
            f"{set_dir} is no {kinds[wanted]}, which encoders.features={config.features} with"
            f" encoders.video_lora_rank={config.video_lora_rank} needs here"
        )
    if not online:
        return Archives(set_dir, streams)
    return Online(set_dir, mouths_dir, streams, config, device, augmented, ready)


def padded(stream: str, frames: list[Tensor]) -> dict[str, Tensor]:
    """Frames of utterances as entries of a batch: (B, T, width) and (B,)."""
    lengths = torch.tensor([len(x) for x in frames])
    return {stream: pad_sequence(frames, batch_first=True), f"{stream}_lengths": lengths}
