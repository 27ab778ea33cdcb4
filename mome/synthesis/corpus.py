"""The files of the mini corpus: which clips there are, who says what, and how they are made.

Training, validation and test share neither speakers nor voices nor sentences, and every word of the
other two occurs in the training sentences. The same settings give the same bytes for any number of
processes. A run that was stopped continues, and a second run does nothing.
"""

import logging
import multiprocessing
import shutil
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from mome import files
from mome.data import SAMPLE_RATE, VIDEO_FPS
from mome.data.progress import Progress
from mome.synthesis import movie, sentences, speech
from mome.synthesis.actor import Actor
from mome.synthesis.speech import Timed

FORMAT = 3  # version of the corpus; when it changes, a corpus of another version is made anew
SETS = ("train", "valid", "test")
PRETRAIN_EVERY = 4  # every fourth training speaker is in pretrain, where words have times
LRS3_FOLDERS = {"train": "trainval", "valid": "trainval", "test": "test", "pretrain": "pretrain"}
LRS2_FOLDERS = {"train": "main", "valid": "main", "test": "main", "pretrain": "pretrain"}
LRS2_LISTS = {"pretrain": "pretrain", "train": "train", "valid": "val", "test": "test"}
LRS2_MEDIA = "mvlrs_v1"
IN_PROGRESS = "in_progress"  # folder that holds the stamp of an unfinished run
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The corpus to make. The same settings give the same files.

    Attributes:
        layout: "lrs3" or "lrs2", whose folders, files and lists it has (mome/corpora/mini.py).
        clips_per_speaker: of each training speaker; `eval_clips_per_speaker` of each other one.
        seed: of all random draws.
    """

    layout: str = "lrs3"
    train_speakers: int = 40
    valid_speakers: int = 4
    test_speakers: int = 8
    clips_per_speaker: int = 45
    eval_clips_per_speaker: int = 14
    seed: int = 1

    def __post_init__(self):
        if self.layout not in ("lrs3", "lrs2"):
            raise ValueError(f"layout must be lrs3 or lrs2, got {self.layout}")
        for name in ("train_speakers", "clips_per_speaker"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("valid_speakers", "test_speakers", "eval_clips_per_speaker", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Take:
    """A clip to make: its path without suffix, the speaker, the sentence, and seeds.

    `part` is a folder of the layout: pretrain, train, valid or test.
    """

    path: Path
    part: str
    speaker: str
    sentence: str
    set_index: int
    speaker_index: int
    clip_index: int
    seed: int

    @property
    def speaker_seed(self) -> list[int]:
        """The seed of the speaker's voice and face."""
        return [self.seed, self.set_index, self.speaker_index]

    @property
    def clip_seed(self) -> list[int]:
        """The seed of what differs between clips of a speaker."""
        return [*self.speaker_seed, self.clip_index]

    @property
    def is_complete(self) -> bool:
        """Whether all files of the clip exist; the video is written last."""
        return all(self.path.with_suffix(s).exists() for s in (".mp4", ".txt", ".phones"))


def synthesise(root: Path, settings: Settings, num_jobs: int) -> None:
    """Make the corpus in `root` by `num_jobs` processes, except for clips that exist already.

    Raises ValueError when `root` has files of a corpus that was not made here.
    """
    takes = plan(root, settings)
    inputs = {"format": FORMAT, "engine": speech.engine_version(), **asdict(settings)}
    if files.up_to_date(root, inputs) and all(take.is_complete for take in takes):
        log.info(f"{root} is up to date")
        return
    prepare(root, inputs)
    missing = [take for take in takes if not take.is_complete]
    log.info(
        f"{root}: {len(takes)} clips, {len(missing)} of them to be made, by {num_jobs} processes"
    )
    make_all(missing, num_jobs, num_done=len(takes) - len(missing))
    if settings.layout == "lrs2":
        write_lists(root, takes)
    shutil.rmtree(root / IN_PROGRESS, ignore_errors=True)
    files.write_stamp(root, inputs)


def prepare(root: Path, inputs: dict) -> None:
    """Keep the clips of a stopped run with the same settings; remove a corpus of other settings."""
    in_progress = root / IN_PROGRESS
    if files.up_to_date(root, inputs) or files.up_to_date(in_progress, inputs):
        files.write_stamp(in_progress, inputs)
        return
    folders = [root / name for name in {*LRS3_FOLDERS.values(), LRS2_MEDIA}]
    existing = sorted(str(folder) for folder in folders if folder.exists())
    made_here = any((folder / files.STAMP).exists() for folder in (root, in_progress))
    if existing and not made_here:
        raise ValueError(
            f"{existing[0]} exists and was not made by this command: name another folder, or "
            "remove it first"
        )
    if existing:
        log.info(f"{root} was made with other options: it is made anew")
    files.clear_stamp(root)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    files.write_stamp(in_progress, inputs)


# ---- the plan -----------------------------------------------------------------------------------


def plan(root: Path, settings: Settings) -> list[Take]:
    """All clips with their sentences."""
    num_speakers = [settings.train_speakers, settings.valid_speakers, settings.test_speakers]
    num_clips = [settings.clips_per_speaker, *[settings.eval_clips_per_speaker] * 2]
    known, takes = sentences.vocabulary(), []
    for i, set_name in enumerate(SETS):
        rng = np.random.default_rng([settings.seed, i])
        drawn = sentences.draw(num_speakers[i] * num_clips[i], set_name, rng, known)
        known = sentences.words_of(drawn) if set_name == "train" else known
        for speaker in range(num_speakers[i]):
            part, name = part_of(set_name, speaker), f"{set_name}{speaker:03d}"
            folder = folder_of(root, settings.layout, part) / name
            for clip in range(num_clips[i]):
                sentence = drawn[speaker * num_clips[i] + clip]
                path = folder / f"{clip:05d}"
                takes.append(Take(path, part, name, sentence, i, speaker, clip, settings.seed))
    return takes


def part_of(set_name: str, speaker: int) -> str:
    """The part of the layout that a speaker of a set belongs to."""
    in_pretrain = set_name == "train" and speaker % PRETRAIN_EVERY == PRETRAIN_EVERY - 1
    return "pretrain" if in_pretrain else set_name


def folder_of(root: Path, layout: str, part: str) -> Path:
    """The folder of a part, which has a folder for each speaker."""
    if layout == "lrs2":
        return root / LRS2_MEDIA / LRS2_FOLDERS[part]
    return root / LRS3_FOLDERS[part]


def write_lists(root: Path, takes: list[Take]) -> None:
    """Write LRS2's lists of clips; the one of the test set has a second column, as in LRS2."""
    for part, name in LRS2_LISTS.items():
        second = " NF" if part == "test" else ""
        lines = [f"{t.speaker}/{t.path.name}{second}\n" for t in takes if t.part == part]
        files.write_text(root / f"{name}.txt", "".join(lines))


# ---- making -------------------------------------------------------------------------------------


def make_all(takes: list[Take], num_jobs: int, num_done: int) -> None:
    """Make clips by several processes; `num_done` others are made already."""
    with Progress("synthesis", num_done + len(takes), done=num_done) as progress:
        if num_jobs == 1 or len(takes) < 2:
            for take in takes:
                make(take)
                progress.update()
            return
        context = multiprocessing.get_context("spawn")  # each process loads a speech engine anew
        with context.Pool(min(num_jobs, len(takes))) as pool:
            for _ in pool.imap_unordered(make, takes):
                progress.update()


def make(take: Take) -> None:
    """Speak, draw and write one clip."""
    actor = cast(tuple(take.speaker_seed), SETS[take.set_index], take.speaker_index)
    performance = actor.perform(take.sentence, take.clip_seed)
    words = performance.words if take.part == "pretrain" else []
    text = text_file(take.sentence, take.speaker, performance.boxes, words)
    phones = "".join(f"{p.name} {p.start:.4f} {p.end:.4f}\n" for p in performance.phones)
    files.write_text(take.path.with_suffix(".txt"), text)
    files.write_text(take.path.with_suffix(".phones"), phones)
    video_path = take.path.with_suffix(".mp4")
    movie.write(video_path, performance.images, VIDEO_FPS, performance.waveform, SAMPLE_RATE)


@lru_cache(maxsize=2)
def cast(seed: tuple[int, ...], set_name: str, index: int) -> Actor:
    """The actor of a take; kept, because making a face takes as long as making some clips."""
    cv2.setNumThreads(1)
    return Actor(list(seed), set_name, index)


def text_file(sentence: str, speaker: str, boxes_T4: np.ndarray, words: list[Timed]) -> str:
    """A text file in the form of LRS3: text, source, face boxes, and the times of words."""
    lines = [f"Text:  {sentence.upper()}", "Conf:  5", f"Ref:   {speaker}"]
    lines += ["", "FRAME X Y W H"]
    for i, (x, y, w, h) in enumerate(boxes_T4):
        lines.append(f"{i:06d} {x:.3f} {y:.3f} {w:.3f} {h:.3f}")
    if words:
        lines += ["", "WORD START END ASDSCORE"]
        lines += [f"{w.name.upper()} {w.start:.2f} {w.end:.2f} 10.0" for w in words]
    return "\n".join(lines) + "\n"
