"""Decoders of a gateway, uploads for them, and the processes that they start."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.host.processes import ProcessStat, visible_processes


def upload_from(path: Path, name: str | None = None) -> Upload:
    """An upload of a file on disk."""
    data = path.read_bytes()
    return Upload(path.open("rb"), name or path.name, len(data), hashlib.sha256(data).hexdigest())


def descendants(pid: int | None = None) -> list[ProcessStat]:
    """The running processes below one, this process by default: zygotes before their children."""
    processes = [process for process in visible_processes() if not process.is_zombie]
    known, found = {pid or os.getpid()}, list[ProcessStat]()
    while new := [process for process in processes if process.parent in known and process.pid not in known]:
        found += new
        known |= {process.pid for process in new}
    return found


@contextmanager
def started_pool(limits: Limits | None = None, c2pa_trust: Path | None = None) -> Iterator[DecoderPool]:
    """Decoders that end with the block."""
    pool = DecoderPool(limits or Limits(), c2pa_trust=c2pa_trust)
    asyncio.run(pool.start())
    try:
        yield pool
    finally:
        asyncio.run(pool.close())
