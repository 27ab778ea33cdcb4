"""Encode many clips in batches of similar length, and read the files ahead.

The batches are formed beforehand. While an encoder runs one, threads read the next. At most `AHEAD`
batches wait in memory, however many clips there are.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import soundfile

from mome.data.progress import Progress

AHEAD = 2  # batches

Encoder = Callable[[list[np.ndarray]], list[Any]]  # clips -> frames, a tensor for each
Frames = Iterator[tuple[str, np.ndarray]]  # clips by name, each with its frames, (T, width)


def similar_lengths(lengths: dict[str, float], most: float) -> list[list[str]]:
    """Divide clips into batches of similar length; a batch lasts at most `most`, padding included.

    A clip longer than that is alone. The batches come in a random order, the same each time. So
    every n-th one is a fair share of the work, and the first ones tell how long the rest will take.
    """
    batches: list[list[str]] = []
    for clip in sorted(lengths, key=lambda clip: (-lengths[clip], clip)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= most:
            batches[-1].append(clip)
        else:
            batches.append([clip])
    random.Random(0).shuffle(batches)
    return batches


def encode(
    encoder: Encoder,
    read: Callable[[str], np.ndarray | None],
    batches: list[list[str]],
    name: str,
    job: tuple[int, int] = (1, 1),
    num_readers: int = 1,
) -> Frames:
    """The frames of clips in batches; the progress is shown under a name and the number of the job.

    `num_readers` threads call `read`, which gives the input of the encoder, or None for a clip that
    is left out. Raises ValueError, which names the clip, when one cannot be read.
    """
    num_clips = sum(map(len, batches))
    with Progress(f"{name} {job[0]}/{job[1]}", num_clips, position=job[0] - 1) as progress:
        for batch, clips in read_ahead(read, batches, num_readers):
            yield from encode_batch(encoder, batch, clips)
            progress.update(len(batch))


def encode_batch(encoder: Encoder, batch: list[str], clips: list[np.ndarray | None]) -> Frames:
    """The frames of the clips of a batch that are not None."""
    import torch  # takes a second

    kept = [(name, clip) for name, clip in zip(batch, clips, strict=True) if clip is not None]
    if not kept:
        return
    try:
        frames = encoder([clip for _, clip in kept])
        together = torch.cat(frames).cpu().numpy()  # one transfer from a GPU
    except Exception as error:
        error.add_note(f"while these clips were encoded: {' '.join(name for name, _ in kept)}")
        raise
    ends = np.cumsum([len(x) for x in frames])
    yield from zip((name for name, _ in kept), np.split(together, ends[:-1]), strict=True)


def read_ahead(
    read: Callable[[str], Any], batches: Iterable[list[str]], num_threads: int
) -> Iterator[tuple[list[str], list[Any]]]:
    """Each batch, and what `read` gives for its clips; threads read the batches after it.

    Raises ValueError, which names the clip, when one cannot be read.
    """
    waiting: deque[tuple[list[str], list[Future]]] = deque()
    readers = ThreadPoolExecutor(num_threads)
    try:
        for batch in batches:
            waiting.append((batch, [readers.submit(read, clip) for clip in batch]))
            if len(waiting) > AHEAD:
                yield _results(*waiting.popleft())
        while waiting:
            yield _results(*waiting.popleft())
    finally:
        readers.shutdown(cancel_futures=True)


def _results(batch: list[str], futures: list[Future]) -> tuple[list[str], list[Any]]:
    found = []
    for clip, future in zip(batch, futures, strict=True):
        try:
            found.append(future.result())
        except (ValueError, OSError, soundfile.SoundFileError) as error:
            raise ValueError(f"{clip} cannot be encoded: {error}") from error
    return batch, found
