"""Batches that worker processes read ahead of the step that needs them.

A worker reads, decodes, augments and pads. The main process copies the batch to the device, and
runs there the encoders that run in training. The number of workers changes no batch.
"""

import ctypes
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Generator, Iterable

import torch
from torch.utils.data import DataLoader, Dataset

from mome.data.dataset import Draw, FeatureDataset, to_device
from mome.training import forks

MOST_WORKERS = 4  # of one GPU, if none are asked for
SET_PDEATHSIG = 1  # of prctl: choose the signal that this process gets when its parent ends


class ReadAhead:
    """The batches of `data` that `draws` asks for, in that order, on a device.

    `setting` is `train.data_workers`. An error of a worker is raised when its batch is due.
    """

    def __init__(
        self, data: FeatureDataset, draws: Iterable[Draw], setting: str, device: torch.device
    ):
        self.source, self.device, self.waited = data.source, device, 0.0
        num_workers = count_workers(setting, device)
        self.loader = DataLoader(
            _Reader(data),
            batch_size=None,  # an item is a batch
            sampler=draws,
            collate_fn=lambda batch: batch,
            num_workers=num_workers,
            # Forked workers start in milliseconds and share the tables of the set. They must not
            # use the device, which a forked process cannot, and do not.
            multiprocessing_context=forks.Context() if num_workers else None,
            worker_init_fn=start_worker,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # the global one stays as it is
        )

    def __iter__(self) -> Generator[dict]:
        # Workers inherit the mask, so that no SIGTERM ends one before `start_worker` has begun.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            batches = iter(self.loader)  # starts the workers
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            while True:
                start = time.monotonic()
                batch = next(batches, None)
                self.waited += time.monotonic() - start
                if batch is None:
                    return
                if isinstance(batch, Exception):
                    raise batch
                yield self.source.encoded(to_device(batch, self.device))
        finally:
            del batches  # ends them, even if an error keeps this frame

    def seconds_waited(self) -> float:
        """Seconds that the caller has waited for batches since its last question."""
        waited, self.waited = self.waited, 0.0
        return waited


class _Reader(Dataset):
    """Reads batches. An expected error is returned: DataLoader would add lines to its message."""

    def __init__(self, data: FeatureDataset):
        self.data = data

    def __getitem__(self, draw: Draw) -> dict | Exception:
        picks, scales = draw
        try:
            return self.data.read(picks) | {"scales": scales}
        except (ValueError, OSError) as error:
            return error


def start_worker(number: int) -> None:
    """Prepare a new worker; it ends when its parent does or says so, and not before."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(SET_PDEATHSIG, signal.SIGKILL)
    # A cluster sends SIGTERM to all processes, but the parent still needs batches for its step.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_at_sigterm_of, args=[os.getppid()], daemon=True).start()
    gc.freeze()  # collections would write to the memory shared with the parent, and so copy it
    if number:  # what each process logs once is logged by the first worker
        logging.getLogger().setLevel(logging.WARNING)
    forks.has_started()


def _end_at_sigterm_of(sender: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != sender:
        pass
    os._exit(0)


def count_workers(setting: str, device: torch.device) -> int:
    """The number of workers of this process: `setting`, a number, or "auto".

    "auto" leaves a core to the main process. Steps on a CPU are slow, so one worker is enough.
    """
    if setting != "auto":
        return int(setting)
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_SIZE", 1))
    return max(0, min(MOST_WORKERS if device.type == "cuda" else 1, cores - 1))
