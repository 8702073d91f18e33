"""Data loading in worker processes, in an order that does not depend on their number."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import cv2
import torch

Item = TypeVar("Item")

PREFETCHED_ITEMS = 8
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def iterate_in_order(
    samples: torch.utils.data.Dataset[Item],
    indices: Iterable[int],
    workers: int,
    *,
    ahead: int = PREFETCHED_ITEMS,
) -> Iterator[Item]:
    """Yield the samples of the given indices in their order; 0 `workers` loads them in this process.

    Each worker is `ahead` samples before their use.
    """
    loader: Any = torch.utils.data.DataLoader(
        samples,
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        # OpenCV's and FFmpeg's threads do not survive a fork.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_initialize_worker if workers else None,
        prefetch_factor=ahead if workers else None,
        collate_fn=_identity,
    )
    # Workers start in the first `iter`, with the signals that are blocked then: Ctrl-C is for this process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        samples_in_order = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield from samples_in_order
    finally:
        if workers:  # a fault's traceback would keep them until their thread ends, which kills them
            samples_in_order._shutdown_workers()


def _identity(item: Any) -> Any:
    return item


def _initialize_worker(_: int) -> None:
    cv2.setNumThreads(0)
    # A worker whose training process was killed would wait forever.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
