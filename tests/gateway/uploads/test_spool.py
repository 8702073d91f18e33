"""The spool: files without a name, counted, hashed, and gone when closed."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import hashlib
import io
import os
import resource
import stat
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deepfake_triton.errors import GatewayBusy, InvalidOption, SpoolFull, UploadTooLarge
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.spool import BLOCK_BYTES, Spool, SpoolWriter, Upload

pytestmark = pytest.mark.fast

MIB = 2**20
LIMITS = Limits(max_upload_bytes=4 * BLOCK_BYTES, spool_reserve_bytes=0)


def _open_files() -> list[str]:
    """What this process has open, apart from what the listing itself opens."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(entry))  # noqa: PTH115
        except FileNotFoundError:
            continue
    return links


async def _received(spool: Spool, *chunks: bytes, declared_bytes: int | None = None) -> Upload:
    async with spool.receive(declared_bytes) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        return await writer.finish("clip.mp4")


@pytest.mark.parametrize("chunk_bytes", [1000, BLOCK_BYTES, 2 * BLOCK_BYTES + 7])
def test_an_upload_comes_back_whole(tmp_path: Path, chunk_bytes: int) -> None:
    content = os.urandom(2 * BLOCK_BYTES + 12_345)
    chunks = [content[i : i + chunk_bytes] for i in range(0, len(content), chunk_bytes)]
    upload = asyncio.run(_received(Spool(tmp_path, LIMITS), *chunks, declared_bytes=len(content)))
    assert (upload.name, upload.size_bytes) == ("clip.mp4", len(content))
    assert upload.sha256 == hashlib.sha256(content).hexdigest()
    assert upload.file.read() == content


@pytest.mark.parametrize("has_unnamed_files", [True, False])
def test_nothing_has_a_name_on_the_disk_and_closing_frees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_unnamed_files: bool
) -> None:
    if not has_unnamed_files:  # a file system without O_TMPFILE
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    folder = tmp_path / "spool"

    async def run() -> None:
        spool = Spool(folder, LIMITS)
        async with spool.receive() as writer:
            await writer.write(b"x" * BLOCK_BYTES)
            assert any(str(folder) in link for link in _open_files()), "the bytes are in that folder"
            assert list(folder.iterdir()) == []
            upload = await writer.finish("clip.mp4")
        assert list(folder.iterdir()) == []
        upload.close()

    asyncio.run(run())
    assert not any(str(folder) in link for link in _open_files())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_limit_holds_for_declared_and_for_counted_bytes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, dataclasses.replace(LIMITS, max_upload_bytes=1000))
    with pytest.raises(UploadTooLarge, match="got 1001 bytes or more, expected 1000"):
        asyncio.run(_received(spool, declared_bytes=1001))
    with pytest.raises(UploadTooLarge):
        asyncio.run(_received(spool, b"x" * 600, b"x" * 401))
    assert asyncio.run(_received(spool, b"x" * 1000)).size_bytes == 1000


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 100 MiB free, on which nothing is ever written."""
    disk = os.statvfs_result((MIB, MIB, 100, 100, 100, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    monkeypatch.setattr(SpoolWriter, "write_block", lambda _self, _block: None)


@pytest.mark.usefixtures("small_disk")
def test_room_is_reserved_for_what_comes_not_for_what_is_declared(tmp_path: Path) -> None:
    async def run() -> None:
        spool = Spool(tmp_path, Limits(spool_reserve_bytes=0))
        async with spool.receive(90 * MIB) as first:
            assert spool.free_bytes == 84 * MIB, "16 MiB are reserved"
            async with spool.receive(80 * MIB):
                assert spool.free_bytes == 68 * MIB, "who has sent nothing keeps out nobody"
            for _ in range(40):
                await first.write(b"x" * MIB)
            reserved = 100 * MIB - spool.free_bytes
            assert 16 * MIB <= reserved <= 50 * MIB, "at most what is still to come"
            with pytest.raises(SpoolFull, match=r"beside 1 uploads under way"):
                async with spool.receive(90 * MIB):
                    pytest.fail("two uploads got the same room")
            for _ in range(50):
                await first.write(b"x" * MIB)
            assert spool.free_bytes == 100 * MIB, "all has come"
        async with spool.receive(90 * MIB):
            pass
        assert spool.free_bytes == 100 * MIB, "the reservation ends with the upload"
        spool.close()

    asyncio.run(run())


@pytest.mark.usefixtures("small_disk")
def test_idle_uploads_leave_room_for_a_real_one(tmp_path: Path) -> None:
    async def run() -> None:
        spool = Spool(tmp_path, Limits(spool_reserve_bytes=0))
        async with AsyncExitStack() as stack:
            for declared in (99 * MIB, 30 * MIB, 30 * MIB, 30 * MIB):
                await stack.enter_async_context(spool.receive(declared))
            async with spool.receive(30 * MIB) as real:
                for _ in range(30):
                    await real.write(b"x" * MIB)
                assert (await real.finish("clip.mp4")).size_bytes == 30 * MIB
        spool.close()

    asyncio.run(run())


def test_reserve_bytes_stay_free(tmp_path: Path) -> None:
    spool = Spool(tmp_path, dataclasses.replace(LIMITS, spool_reserve_bytes=2**60))
    for declared in (10, None):
        with pytest.raises(SpoolFull):
            asyncio.run(_received(spool, b"x" * 10, declared_bytes=declared))


def test_a_disk_that_fills_up_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: SpoolWriter, block: bytes) -> None:
        self._file.close()
        self._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123
        write_block(self, block)

    write_block = SpoolWriter.write_block
    monkeypatch.setattr(SpoolWriter, "write_block", full)
    with pytest.raises(SpoolFull) as caught:
        asyncio.run(_received(Spool(tmp_path, LIMITS), b"x" * 10))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert "/dev/full" not in _open_files()


def test_too_many_open_files_are_a_matter_of_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMITS)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    opened: list[io.FileIO] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, limits[1]))
    try:
        with pytest.raises(GatewayBusy, match="too many files"):
            while len(opened) <= used + 2:
                opened.append(spool.new_file())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in opened:
            file.close()


def test_an_upload_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        spool = Spool(tmp_path, LIMITS)
        free = asyncio.Event()

        async def endless() -> None:
            async with spool.receive(3 * BLOCK_BYTES) as writer:
                await writer.write(b"x" * BLOCK_BYTES)
                free.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(endless())
        await free.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        async def writing() -> None:
            async with spool.receive() as writer:
                while True:
                    await writer.write(b"x" * BLOCK_BYTES)

        task = asyncio.create_task(writing())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(spool.close)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert not any(str(tmp_path) in link for link in _open_files())


def test_a_folder_that_cannot_be_written_to_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidOption, match="--spool"):
        Spool(tmp_path / "file" / "spool", LIMITS)
    with pytest.raises(InvalidOption, match="name another folder"):
        Spool(Path("/proc/self"), LIMITS)


def test_all_uploads_share_the_size_of_the_spool(tmp_path: Path) -> None:
    """Of a volume whose limit is not its disk's: what is held counts, until it is closed or given up."""
    spool = Spool(tmp_path, dataclasses.replace(LIMITS, spool_bytes=5 * BLOCK_BYTES))

    async def run() -> None:
        first = await _received(spool, bytes(3 * BLOCK_BYTES))
        assert spool.free_bytes == 2 * BLOCK_BYTES
        with pytest.raises(SpoolFull, match=f"room for {2 * BLOCK_BYTES} bytes"):
            await _received(spool, declared_bytes=3 * BLOCK_BYTES)
        with pytest.raises(SpoolFull):
            await _received(spool, *3 * [bytes(BLOCK_BYTES)])  # given up halfway
        assert spool.free_bytes == 2 * BLOCK_BYTES
        first.close()
        first.close()
        assert spool.free_bytes == 5 * BLOCK_BYTES and spool.held_bytes == 0
        (await _received(spool, bytes(4 * BLOCK_BYTES))).close()

    asyncio.run(run())
    spool.close()


def test_a_spool_that_is_smaller_than_one_upload_is_refused() -> None:
    with pytest.raises(InvalidOption, match="--spool-size: got 100 bytes"):
        Limits(max_upload_bytes=101, spool_bytes=100)
