"""Slow senders, with seconds as tenths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from deepfake_triton.errors import UploadMalformed
from deepfake_triton.gateway.uploads import upload_pace
from deepfake_triton.gateway.uploads.upload_pace import UploadPace, in_time

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_pace, "IDLE_S", 1.5)
    monkeypatch.setattr(upload_pace, "GRACE_S", 1.0)
    monkeypatch.setattr(upload_pace, "MIN_BYTES_PER_S", 10_000)


async def sender(*chunks: bytes, pause_s: float) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(pause_s)
        yield chunk


def received(chunks: AsyncIterator[bytes], *, busy_s: float = 0) -> list[bytes]:
    """What comes in time, where each chunk keeps its receiver busy."""

    async def run() -> list[bytes]:
        taken = []
        async for chunk in in_time(chunks, UploadMalformed):
            taken.append(chunk)
            await asyncio.sleep(busy_s)
        return taken

    return asyncio.run(run())


def test_a_steady_sender_is_heard_to_the_end() -> None:
    assert received(sender(*[b"x" * 2000] * 10, pause_s=0.05)) == [b"x" * 2000] * 10


def test_a_busy_receiver_is_no_fault_of_the_sender() -> None:
    assert len(received(sender(*[b"x"] * 5, pause_s=0), busy_s=0.08)) == 5


async def falls_silent(first: bytes) -> AsyncIterator[bytes]:
    yield first
    await asyncio.sleep(20)


@pytest.mark.parametrize(
    ("first", "says"), [(b"x" * 10_000, r"nothing came for 1\.5 s"), (b"", "0 bytes in [0-9] s")]
)
def test_silence_ends_it(first: bytes, says: str) -> None:
    with pytest.raises(UploadMalformed, match=says):
        received(falls_silent(first))


def test_a_trickle_ends_it_long_before_it_is_complete() -> None:
    with pytest.raises(UploadMalformed, match=r"bytes in [0-9] s; expected 10000 bytes a second"):
        received(sender(*[b"x" * 50] * 1000, pause_s=0.01))


def test_bytes_buy_time() -> None:
    pace = UploadPace()
    assert pace.patience_s == pytest.approx(1.0)
    pace.add(500, 0.1)
    assert pace.patience_s == pytest.approx(0.95)
    pace.add(1_000_000, 0.1)
    assert pace.patience_s == 1.5, "but no more than the longest silence"


def test_the_real_limits_send_away_what_1_kib_a_second_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pace = UploadPace()
    for second in range(60):
        if pace.patience_s <= 0:
            assert 20 <= second <= 23
            return
        pace.add(1024, 1.0)
    pytest.fail("it is still received")
