"""The files of the mini corpus: which clips there are, who says what, and how they are made."""

import argparse
import logging
import multiprocessing
import shutil
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from mome import files

FORMAT = 2  # of what is made; a change here makes a corpus anew
SETS = ("train", "valid", "test")
PRETRAIN = 4  # each fourth training speaker lies in pretrain, with the times of the words
LRS3_FOLDERS = {"train": "trainval", "valid": "trainval", "test": "test", "pretrain": "pretrain"}
LRS2_FOLDERS = {"train": "main", "valid": "main", "test": "main", "pretrain": "pretrain"}
LRS2_LISTS = {"pretrain": "pretrain", "train": "train", "valid": "val", "test": "test"}
LRS2_MEDIA = "mvlrs_v1"
IN_PROGRESS = "in_progress"  # folder that holds the stamp of an unfinished run
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Take:
    """A clip to make: who says what, where it goes (without suffix), the seeds of chance."""

    path: Path
    part: str  # pretrain, train, valid or test
    speaker: str
    sentence: str
    set_index: int
    speaker_index: int
    clip_index: int
    seed: int

    @property
    def speaker_seed(self) -> list[int]:
        return [self.seed, self.set_index, self.speaker_index]

    @property
    def clip_seed(self) -> list[int]:
        return [*self.speaker_seed, self.clip_index]

    @property
    def whole(self) -> bool:
        """Whether all its files are there; the video is written last."""
        return all(self.path.with_suffix(s).exists() for s in (".mp4", ".txt", ".phones"))


def synthesise(args: argparse.Namespace) -> None:
    """Make the corpus."""
    takes = plan(args)
    inputs = describe(args)
    if files.up_to_date(args.root, inputs) and all(take.whole for take in takes):
        log.info("%s is up to date", args.root)
        return
    prepare(args.root, inputs)
    missing = [take for take in takes if not take.whole]
    log.info(
        "%s: %d clips, %d of them to be made, by %d processes",
        args.root, len(takes), len(missing), args.num_jobs,
    )  # fmt: skip
    make_all(missing, args.num_jobs, done=len(takes) - len(missing))
    if args.layout == "lrs2":
        write_lists(args.root, takes)
    shutil.rmtree(args.root / IN_PROGRESS, ignore_errors=True)
    files.write_stamp(args.root, inputs)


def describe(args: argparse.Namespace) -> dict:
    """What the corpus depends on, for the stamp."""
    from mome.synthesis import speech

    options = {k: v for k, v in vars(args).items() if k not in ("root", "num_jobs")}
    return {"format": FORMAT, "engine": speech.engine_version(), **options}


def prepare(root: Path, inputs: dict) -> None:
    """Keep the clips of a stopped run with the same options; remove a corpus of other ones."""
    again = root / IN_PROGRESS
    if files.up_to_date(root, inputs) or files.up_to_date(again, inputs):
        files.write_stamp(again, inputs)
        return
    folders = [root / name for name in {*LRS3_FOLDERS.values(), LRS2_MEDIA}]
    there = sorted(str(folder) for folder in folders if folder.exists())
    ours = any((folder / files.STAMP).exists() for folder in (root, again))
    if there and not ours:
        raise ValueError(
            f"{there[0]} is there and was not made by this command: name another folder, or "
            "remove it first"
        )
    if there:
        log.info("%s was made with other options: made anew", root)
    files.clear_stamp(root)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    files.write_stamp(again, inputs)


# ---- the plan -----------------------------------------------------------------------------------


def plan(args: argparse.Namespace) -> list[Take]:
    """All clips, sentences drawn: the same for the same options."""
    from mome.synthesis import sentences

    num_speakers = [args.train_speakers, args.valid_speakers, args.test_speakers]
    num_clips = [args.clips_per_speaker, *[args.eval_clips_per_speaker] * 2]
    known, takes = sentences.vocabulary(), []
    for i, set_name in enumerate(SETS):
        rng = np.random.default_rng([args.seed, i])
        drawn = sentences.draw(num_speakers[i] * num_clips[i], set_name, rng, known)
        known = sentences.words_of(drawn) if set_name == "train" else known
        for speaker in range(num_speakers[i]):
            part, name = part_of(set_name, speaker), f"{set_name}{speaker:03d}"
            folder = folder_of(args.root, args.layout, part) / name
            for clip in range(num_clips[i]):
                sentence = drawn[speaker * num_clips[i] + clip]
                path = folder / f"{clip:05d}"
                takes.append(Take(path, part, name, sentence, i, speaker, clip, args.seed))
    return takes


def part_of(set_name: str, speaker: int) -> str:
    last = speaker % PRETRAIN == PRETRAIN - 1
    return "pretrain" if set_name == "train" and last else set_name


def folder_of(root: Path, layout: str, part: str) -> Path:
    if layout == "lrs2":
        return root / LRS2_MEDIA / LRS2_FOLDERS[part]
    return root / LRS3_FOLDERS[part]


def write_lists(root: Path, takes: list[Take]) -> None:
    """LRS2's lists of clips; those of the test set have a second column, as LRS2's do."""
    from mome.synthesis import movie

    for part, name in LRS2_LISTS.items():
        second = " NF" if part == "test" else ""
        lines = [f"{t.speaker}/{t.path.name}{second}\n" for t in takes if t.part == part]
        movie.write_whole(root / f"{name}.txt", "".join(lines).encode())


# ---- making -------------------------------------------------------------------------------------


def make_all(takes: list[Take], num_jobs: int, done: int) -> None:
    from tqdm import tqdm

    bar = partial(
        tqdm, mininterval=1, desc="clips", unit="clip", initial=done, total=done + len(takes)
    )
    if num_jobs == 1 or len(takes) < 2:
        for take in bar(takes):
            make(take)
        return
    context = multiprocessing.get_context("spawn")  # a fresh engine in each
    with context.Pool(min(num_jobs, len(takes))) as pool:
        for _ in bar(pool.imap_unordered(make, takes)):
            pass


def make(take: Take) -> None:
    """Speak, draw and write one clip."""
    from mome.synthesis import movie
    from mome.synthesis.speech import SAMPLE_RATE
    from mome.synthesis.visemes import FRAME_RATE

    actor = cast(tuple(take.speaker_seed), SETS[take.set_index], take.speaker_index)
    shown = actor.perform(take.sentence, take.clip_seed)
    take.path.parent.mkdir(parents=True, exist_ok=True)
    words = shown.words if take.part == "pretrain" else []
    text = text_file(take.sentence, take.speaker, shown.boxes, words)
    phones = "".join(f"{p.name} {p.start:.4f} {p.end:.4f}\n" for p in shown.phones)
    movie.write_whole(take.path.with_suffix(".txt"), text.encode())
    movie.write_whole(take.path.with_suffix(".phones"), phones.encode())
    video_path = take.path.with_suffix(".mp4")
    movie.write(video_path, shown.frames, FRAME_RATE, shown.waveform, SAMPLE_RATE)


@lru_cache(maxsize=2)
def cast(seed: tuple[int, ...], set_name: str, index: int):
    """The actor of a take; remembered, since a face takes as long as some clips."""
    import cv2

    from mome.synthesis.actor import Actor

    cv2.setNumThreads(1)
    return Actor(list(seed), set_name, index)


def text_file(sentence: str, speaker: str, boxes_T4: np.ndarray, words: list) -> str:
    """What LRS3's text file says: words, source, where the face is, times of the words."""
    lines = [f"Text:  {sentence.upper()}", "Conf:  5", f"Ref:   {speaker}"]
    lines += ["", "FRAME X Y W H"]
    for i, (x, y, w, h) in enumerate(boxes_T4):
        lines.append(f"{i:06d} {x:.3f} {y:.3f} {w:.3f} {h:.3f}")
    if words:
        lines += ["", "WORD START END ASDSCORE"]
        lines += [f"{w.name.upper()} {w.start:.2f} {w.end:.2f} 10.0" for w in words]
    return "\n".join(lines) + "\n"
