"""The frozen encoders at work while a model trains: no two epochs see the same (MoME §4.1).

In place of the features that stage 2 writes: each time an utterance comes up its audio is clean or
in new noise, its mouth cropped at another place, mirrored or not, and masked. Slower than reading
archives, and takes no disk. What is random comes from the seed of the pick, so that a training that
is killed and resumed gives the same numbers.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mome import encoders
from mome.config import EncodersConfig
from mome.data import augment, datadir, video
from mome.data.dataset import Archives, Pick
from mome.data.noise import Noise, waveform

READERS = 8  # threads
STREAM = {"audio": 0, "video": 1}  # for seeds


class Online:
    """Frames of the utterances of a data directory; the interface of `mome.data.dataset.Archives`.

    Args:
        data_dir: the set.
        mouths_dir: its mouth crops, `dump/mouths/<set>`; not read for a task without video.
        streams: "audio", "video": what the task needs.
        config: the encoders, and what is done to their input.
        device: where they run.
        augmented: as for training; else centre crops, clean audio, no masks.
        ready: encoders that are loaded already, by stream.

    With LoRA on the video encoder, `frames` gives the mouths themselves: the model encodes them.

    Raises FileNotFoundError or ValueError when a table, an encoder or a crop is missing.
    """

    num_noisy = 1  # kinds of noisy audio that a pick may ask for; here each is a new one
    store_rate = 1

    def __init__(
        self,
        data_dir: str | Path,
        mouths_dir: str | Path | None,
        streams: list[str],
        config: EncodersConfig,
        device: str | torch.device = "cpu",
        augmented: bool = True,
        ready: dict[str, nn.Module] | None = None,
    ):
        self.dir, self.streams, self.config = Path(data_dir), streams, config
        self.data = datadir.read(data_dir)
        self.text = self.data.text
        self.augmented, self.scps = augmented, {"audio": self.data.wav}
        self.encodes_video = not config.video_lora_rank
        if "video" in streams:
            if mouths_dir is None:
                raise ValueError(
                    f"the videos of {data_dir} are to be encoded now, but its mouth crops were not"
                    " named: give dump/mouths/<set> as --train_mouths or --valid_mouths"
                )
            self.scps["video"], _ = datadir.with_mouths(self.data, mouths_dir)
            self.text = {u: self.text[u] for u in self.scps["video"]}
        self.encoders = dict(ready or {})
        missing = [s for s in streams if s not in self.encoders]
        self.encoders |= load_encoders(missing, config, device)
        self.info = {"features": "online", "pad_to_30s": config.pad_to_30s}
        self.frame_dims = {s: encoder.dim for s, encoder in self.encoders.items()}
        for stream, encoder in self.encoders.items():
            self.info |= {f"{stream}_{k}": v for k, v in encoders.about(encoder).items()}
        self.noise = Noise(config.noise, config.snrs, self.data, noise_dir=config.noise_dir or None)
        rates = {"audio": 50, "video": 25}  # frames a second
        self.num_frames = {  # for planning; the media themselves are read when they come up
            s: {u: max(1, round(self.data.utt2dur[u] * rates[s])) for u in self.text}
            for s in streams
        }

    def frames(self, stream: str, chosen: list[tuple[str, Pick]]) -> list:
        """Encode utterances now, as their picks ask: (T_i, width) float32 tensors."""
        read = self.sound if stream == "audio" else self.mouth
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(lambda pair: read(*pair), chosen))
        if stream == "video" and not self.encodes_video:
            return found
        return self.encoders[stream](found)

    def sound(self, utterance: str, pick: Pick) -> np.ndarray:
        """The waveform, in noise if the pick asks for a noisy copy."""
        speech = waveform(self.scps["audio"][utterance])
        if not pick.copy or not self.augmented:
            return speech
        rng = np.random.default_rng((*pick.seed, STREAM["audio"]))
        return self.noise.add(speech, self.data.utt2spk[utterance], rng)[0]

    def mouth(self, utterance: str, pick: Pick) -> np.ndarray:
        """The mouth, (T, H, W) uint8, augmented or not."""
        mouth = video.read_mouth(self.scps["video"][utterance])
        if not self.augmented:
            return mouth
        rng = np.random.default_rng((*pick.seed, STREAM["video"]))
        if self.config.random_crop:
            mouth = augment.random_crop(mouth, encoders.CROP, rng)
        if rng.random() < self.config.mirror_share:
            mouth = augment.mirror(mouth)
        return augment.mask_time(mouth, self.config.mask_s, rng)


def load_encoders(
    streams: list[str], config: EncodersConfig, device: str | torch.device
) -> dict[str, nn.Module]:
    """The encoder of each stream, frozen but for LoRA on the video's where that is asked for."""
    found = {}
    if "audio" in streams:
        found["audio"] = encoders.load_audio_encoder(config.audio, device, config.pad_to_30s)
    if "video" in streams:
        found["video"] = encoders.load_video_encoder(config.video, device)
        if config.video_lora_rank:
            found["video"].add_lora(config.video_lora_rank, config.video_lora_alpha)
    return found


def open_source(
    set_dir: Path,
    mouths_dir: Path | None,
    streams: list[str],
    config: EncodersConfig,
    device: str | torch.device,
    augmented: bool = False,
    ready: dict[str, nn.Module] | None = None,
) -> Archives | Online:
    """Where the frames of a set come from: online for a data directory, else archives.

    `ready` are encoders that are loaded already, such as another source's.

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
