"""Samples made by processes beside the training, in an order that does not depend on how many there are."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import cv2
import torch

Item = TypeVar("Item")

_AHEAD = 8
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ordered(samples: torch.utils.data.Dataset[Item], numbers: Iterable[int], workers: int) -> Iterator[Item]:
    """The samples of those numbers, one after the other; 0 `workers` makes them here."""
    loader: Any = torch.utils.data.DataLoader(
        samples,
        batch_size=None,
        sampler=list(numbers),
        num_workers=workers,
        # OpenCV's and FFmpeg's threads do not survive a fork.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_begin if workers else None,
        prefetch_factor=_AHEAD if workers else None,
        collate_fn=_as_is,
    )
    yield from loader


def _as_is(item: Any) -> Any:
    return item


def _begin(_: int) -> None:
    cv2.setNumThreads(0)
    # A worker whose training was killed would wait for ever.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
