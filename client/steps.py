"""What a flow asks its sender to wait for."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Wait:
    """Wait until all of these are done, or for `timeout_s`; the flow is sent whether they are."""

    futures: tuple[Future[Any], ...]
    timeout_s: float


@dataclass(frozen=True)
class Pause:
    """Wait for so long."""

    seconds: float


Flow = Generator[Wait | Pause, bool, T]
"""A generator that yields what to wait for, is sent whether that is done, and returns a `T`."""
