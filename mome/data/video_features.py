"""The video features of a set: encoded, or taken over from another set with the same mouths.

A test set in noise has the pictures of the clean one. Its video.scp names the arks of the clean
set, so the video encoder need not run again, and the frames are on disk once.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mome import files
from mome.data import SAMPLE_RATE, VIDEO_FPS, ark, crops, datadir
from mome.data.batches import Frames

MAX_APART = 2  # video frames that the lengths of audio and video may differ by


def write(
    folder: Path,
    name: str,
    encode: Callable[..., Frames],
    data: datadir.DataDir,
    mouths: dict[str, str],
    shared: list[list[str]],
) -> tuple[dict[str, int], dict[str, str]]:
    """Write the video of batches of utterances, given the paths of their mouths.

    Returns the number of frames of each, and the reasons of those that were left out.
    """
    unequal: dict[str, str] = {}

    def read(utterance: str) -> np.ndarray | None:
        """The mouths, uint8 (T, 96, 96); None when the audio is not as long."""
        mouth = crops.read(mouths[utterance])
        audio_length = soundfile.info(data.wav[utterance]).frames / (SAMPLE_RATE // VIDEO_FPS)
        if abs(audio_length - len(mouth)) <= MAX_APART:
            return mouth
        unequal[utterance] = (
            f"its audio lasts {audio_length / VIDEO_FPS:.2f} s, its video"
            f" {len(mouth) / VIDEO_FPS:.2f} s"
        )
        return None

    frames = encode(read, shared, f"{name} video")
    return ark.write_ark(folder / "video.scp", frames), unequal


def check(source_dir: Path, inputs: Iterable[Path]) -> None:
    """ValueError unless the features in `source_dir` are finished and made from these inputs."""
    stamp = files.read_stamp(source_dir)
    if stamp is None:
        raise ValueError(
            f"{source_dir} has no finished features, whose video could be taken over: make them"
            " first, or leave out --video_from"
        )
    for path in inputs:
        if stamp["files"].get(str(path)) != files.digest(path):
            raise ValueError(
                f"{source_dir} has video that was not made from this {path}: make its features"
                " again, or leave out --video_from"
            )


def take(
    source_dir: Path, utterances: Iterable[str], folder: Path
) -> tuple[dict[str, int], dict[str, str], dict[str, Any]]:
    """Write the index of these utterances, whose arks are those of `source_dir`.

    Returns the number of frames of each, the reasons of those that were left out there, and what
    feats.json says of the video. Raises ValueError for an utterance that is neither.
    """
    entries = ark.read_scp(source_dir / "video.scp")
    frames = datadir.read_table(source_dir / "utt2num_video_frames")
    reasons = datadir.read_skipped(source_dir)
    kept, unequal = {}, {}
    for utterance in utterances:
        if utterance in entries:
            kept[utterance] = entries[utterance]
        elif utterance in reasons:
            unequal[utterance] = reasons[utterance]
        else:
            raise ValueError(
                f"{source_dir}/video.scp lacks {utterance}: make its features again, or leave out"
                " --video_from"
            )
    ark.write_scp(folder / "video.scp", kept)
    info = json.loads((source_dir / "feats.json").read_text())
    about = {name: value for name, value in info.items() if name.startswith("video_")}
    return {u: int(frames[u]) for u in kept}, unequal, about
