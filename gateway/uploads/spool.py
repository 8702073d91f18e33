"""Spool: uploads in files without a name, which the system removes when they are closed.

A file is opened with O_TMPFILE where the file system has it, and is unlinked at once elsewhere: after a crash
nothing is left to sweep.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from deepfake_triton.errors import GatewayBusy, InvalidOption, SpoolFull, UploadTooLarge
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.names import base_name

BLOCK_BYTES = 2**20
"""Bytes that are hashed and written at once; no more of an upload is in memory."""

AHEAD_BYTES = 16 * 2**20
"""Room that is reserved for an upload of which nothing has come yet; later, as much again as has come."""

_WRITING_THREADS = 4
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}


@dataclass
class HeldRoom:
    """Bytes of one file in a spool; `spool` is None for a file elsewhere."""

    spool: Spool | None = None
    num_bytes: int = 0

    def take(self, num_bytes: int) -> None:
        """Hold so many more."""
        self.num_bytes += num_bytes
        if self.spool is not None:
            self.spool.held_bytes += num_bytes

    def release(self) -> None:
        """Give all of them back. Idempotent."""
        self.take(-self.num_bytes)


@dataclass(frozen=True)
class Upload:
    """A received file.

    Attributes:
        file: Its bytes, open for reading; closed when the job ends.
        name: Base name as the caller gave it: text of a stranger.
        size_bytes: Size.
        sha256: SHA-256 in hexadecimal.
    """

    file: BinaryIO = field(repr=False)
    name: str = field(repr=False)
    size_bytes: int
    sha256: str = field(repr=False)
    room: HeldRoom = field(default_factory=HeldRoom, repr=False, compare=False)

    def close(self) -> None:
        """Close the file, which frees its room on the disk."""
        self.file.close()
        self.room.release()


class Spool:
    """A folder for uploads, and the room on its disk.

    Args:
        folder: Created, for this user alone, if it is missing; None: the system's folder for temporary files.
        limits: Largest upload, the space that stays free, and that of all uploads.

    Attributes:
        held_bytes: Bytes of the uploads that it holds.

    Raises:
        InvalidOption: The folder cannot be created, or not be written to.
    """

    def __init__(self, folder: Path | None, limits: Limits) -> None:
        self.folder = Path(folder or tempfile.gettempdir())
        self.limits = limits
        self.held_bytes = 0
        self._outstanding_bytes = 0
        self._num_receiving = 0
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._new_file().close()
        except OSError as error:
            raise InvalidOption(
                f"--spool {self.folder}: no file can be written there ({error.strerror}); name another folder"
            ) from error
        self._threads = ThreadPoolExecutor(_WRITING_THREADS, thread_name_prefix="spool")

    @property
    def free_bytes(self) -> int:
        """Room for further uploads: what is neither reserved for those under way nor to stay free."""
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize - self.limits.spool_reserve_bytes
        if self.limits.spool_bytes is not None:
            free = min(free, self.limits.spool_bytes - self.held_bytes)
        return free - self._outstanding_bytes

    def require_room(self, declared_bytes: int | None) -> None:
        """Raise UploadTooLarge or SpoolFull if an upload of this size cannot be taken; None: not declared."""
        if declared_bytes is not None and declared_bytes > self.limits.max_upload_bytes:
            raise too_large(declared_bytes, self.limits.max_upload_bytes)
        if (free := self.free_bytes) < max(1, declared_bytes or 0):
            raise SpoolFull(
                f"upload of {declared_bytes or 'unknown'} bytes: the spool has room for {max(0, free)} bytes "
                f"beside {self._num_receiving} uploads under way; try again later"
            )

    @asynccontextmanager
    async def receive(self, declared_bytes: int | None = None) -> AsyncIterator[SpoolWriter]:
        """Receive one request's bytes, as one file: `write()` its chunks, then `await finish(name)`.

        Room for bytes to come is reserved meanwhile: as much again as has come, so that who declares much and
        sends little keeps nobody out. What was not finished is closed at the end, so that a caller that goes
        away leaves nothing behind. Raises UploadTooLarge or SpoolFull.
        """
        async with self.reserve(declared_bytes) as room:
            writer = room.open_file()
            try:
                yield writer
            finally:
                writer.abort()

    @asynccontextmanager
    async def reserve(self, declared_bytes: int | None = None) -> AsyncIterator[Room]:
        """Reserve room for a request that brings several files; see receive()."""
        self.require_room(declared_bytes)
        room = Room(self, declared_bytes)
        self._num_receiving += 1
        self._reserve_ahead(room)
        try:
            yield room
        finally:
            self._num_receiving -= 1
            self._outstanding_bytes -= room.outstanding_bytes

    def take(self, room: Room, num_bytes: int) -> None:
        """Count bytes about to be written against the limit, the room's reservation and the disk."""
        room.taken_bytes += num_bytes
        if room.taken_bytes > self.limits.max_upload_bytes:
            raise too_large(room.taken_bytes, self.limits.max_upload_bytes)
        reserved = min(room.outstanding_bytes, num_bytes)
        room.outstanding_bytes -= reserved
        self._outstanding_bytes -= reserved
        if num_bytes > reserved:
            self.require_room(num_bytes - reserved)
        if room.outstanding_bytes < AHEAD_BYTES // 2:
            self._reserve_ahead(room)

    def _reserve_ahead(self, room: Room) -> None:
        """Reserve what is to come soon, as far as there is room."""
        to_come = min(room.declared_bytes - room.taken_bytes, max(AHEAD_BYTES, room.taken_bytes))
        further = to_come - room.outstanding_bytes
        if further > 0 and (further := min(further, self.free_bytes)) > 0:
            room.outstanding_bytes += further
            self._outstanding_bytes += further

    def write_in_thread(self, writer: SpoolWriter, block: bytes) -> asyncio.Future[None]:
        """Start to hash and write a block beside the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._threads, writer.write_block, block)

    def new_file(self) -> io.FileIO:
        """Open a new, empty file without a name. Raises SpoolFull or GatewayBusy."""
        try:
            return self._new_file()
        except OSError as error:
            refuse(error)

    def close(self) -> None:
        """End the writing threads."""
        self._threads.shutdown()

    def _new_file(self) -> io.FileIO:
        file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
        assert isinstance(file, io.FileIO)
        return file


class Room:
    """Room reserved for one request.

    Attributes:
        declared_bytes: Bytes that the request declares; 0: none.
        outstanding_bytes: Reserved bytes that have not come yet.
        taken_bytes: Bytes that have come, of all its files.
    """

    def __init__(self, spool: Spool, declared_bytes: int | None) -> None:
        self._spool = spool
        self.declared_bytes = declared_bytes or 0
        self.outstanding_bytes = 0
        self.taken_bytes = 0

    def open_file(self) -> SpoolWriter:
        """Open a file of this request. The caller finishes or aborts it."""
        return SpoolWriter(self._spool, self)


class SpoolWriter:
    """One file that is being received."""

    def __init__(self, spool: Spool, room: Room) -> None:
        self._spool, self._room = spool, room
        self._file = spool.new_file()
        self._held = HeldRoom(spool)
        self._hash = hashlib.sha256()
        self._pending = bytearray()
        self._writing: asyncio.Future[None] | None = None
        self._ended = False
        self.size_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Append a chunk; small ones are written together. Raises UploadTooLarge or SpoolFull."""
        self._spool.take(self._room, len(chunk))
        self._held.take(len(chunk))
        self.size_bytes += len(chunk)
        for start in range(0, len(chunk), BLOCK_BYTES):
            self._pending += chunk[start : start + BLOCK_BYTES]
            if len(self._pending) >= BLOCK_BYTES:
                await self._flush()

    async def finish(self, name: str) -> Upload:
        """Return the file, rewound, under the base name of `name`; its reader closes it."""
        await self._flush()
        self._ended = True
        self._file.seek(0)
        reader = io.BufferedReader(self._file, buffer_size=2**16)
        return Upload(reader, base_name(name), self.size_bytes, self._hash.hexdigest(), self._held)

    def abort(self) -> None:
        """Close the file unless it is finished, as soon as no thread writes to it. May be repeated."""
        if self._ended:
            return
        self._ended = True
        if self._writing is None or self._writing.done():
            self._close()
        else:
            self._writing.add_done_callback(self._close_after)

    def write_block(self, block: bytes) -> None:
        """Hash and write a block, in a thread."""
        self._hash.update(block)
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            refuse(error)

    async def _flush(self) -> None:
        if not self._pending:
            return
        block, self._pending = bytes(self._pending), bytearray()
        self._writing = self._spool.write_in_thread(self, block)
        await asyncio.shield(self._writing)

    def _close_after(self, writing: asyncio.Future[None]) -> None:
        if not writing.cancelled():
            writing.exception()  # read, or asyncio reports it as never retrieved
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._held.release()


def too_large(got_bytes: int, max_bytes: int) -> UploadTooLarge:
    """Return the error about an upload beyond the limit."""
    return UploadTooLarge(
        f"upload: got {got_bytes} bytes or more, expected {max_bytes} at most; send a smaller file"
    )


def refuse(error: OSError) -> NoReturn:
    """Raise SpoolFull for a disk without room, GatewayBusy for too many open files, others as they are."""
    if error.errno in _NO_ROOM:
        raise SpoolFull("upload: no room is left on the disk; try again later") from error
    if error.errno in _TOO_MANY_FILES:
        raise GatewayBusy("gateway: too many files are open; try again later") from error
    raise error
