"""Callers who stop waiting: Triton 2.51 must not hear of it, and nothing of theirs is lent twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening_server import listening

from deepfake_triton.client import (
    AsyncDeepfakeClient,
    DeepfakeClient,
    RetryPolicy,
)
from deepfake_triton.client.protocol import exchange, inference
from deepfake_triton.client.protocol.served_models import cancels_safely
from deepfake_triton.errors import (
    DeadlineExceeded,
    DeepfakeError,
    InvalidOption,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
)
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import TritonServer

CALLERS = 12
BUSY = "import time\nuntil = time.monotonic() + 120\nwhile time.monotonic() < until: pass"


@contextmanager
def busy_host() -> Iterator[None]:
    """Other work on all cores, which is when deadlines pass."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.parametrize(
    "count", [pytest.param(60, marks=pytest.mark.triton), pytest.param(240, marks=pytest.mark.slow)]
)
def test_time_outs_and_cancelled_tasks_under_load_leave_the_server_well(
    published_server: TritonServer, clip_frames: FrameBatch, count: int
) -> None:
    """Cancelling the same calls ends this Triton within seconds."""
    few = FrameBatch(clip_frames.data[:8], clip_frames.pts_seconds[:8], 1.0)
    pid, draw = published_server.process.pid, random.Random(0)
    given_up: list[str] = []
    lock = threading.Lock()

    def impatient(client: DeepfakeClient) -> None:
        while len(given_up) < count:
            with lock:
                timeout_s = draw.uniform(0.05, 1.25)
            try:
                client.faces(few, timeout_s=timeout_s)
            except DeadlineExceeded as error:
                given_up.append(str(error))
            except ServerOverloaded:  # what is given up fills the queue, too
                time.sleep(0.05)

    async def cancelled(client: AsyncDeepfakeClient) -> None:
        tasks = []
        for number in range(80):
            tasks.append(asyncio.create_task(client.faces(few)))
            await asyncio.sleep(0.002 * (number % 20))
            tasks[-1].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = {type(end) for end in ended}
        assert asyncio.CancelledError in kinds and kinds <= {asyncio.CancelledError, ServerOverloaded}
        await client.close()

    with DeepfakeClient(published_server.url) as patient:
        wanted = patient.faces(few)
    with (
        busy_host(),
        DeepfakeClient(published_server.url) as client,
        ThreadPoolExecutor(CALLERS + 1) as pool,
    ):
        callers = [pool.submit(impatient, client) for _ in range(CALLERS)]
        callers.append(pool.submit(asyncio.run, cancelled(AsyncDeepfakeClient(published_server.url))))
        for caller in callers:
            caller.result()
    assert len(given_up) >= count
    assert published_server.process.poll() is None and published_server.process.pid == pid
    retry = RetryPolicy(burst=1000)  # what was given up may still fill the queue for a moment
    with DeepfakeClient(published_server.url, retry=retry) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.faces, [few] * 16))
    for answer in answers:
        assert answer[0].fake_probability == pytest.approx(wanted[0].fake_probability, abs=1e-4)


@pytest.mark.triton
def test_a_request_keeps_its_slot_until_its_call_has_ended(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    long = FrameBatch(np.zeros((64, 640, 640, 3), np.uint8), np.arange(64.0), 64.0)

    def ask(faces: Any) -> tuple[float, int]:
        faces(long, 60)  # its memory is registered
        with pytest.raises(DeadlineExceeded, match="no answer within"):
            faces(long, 0.15)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="max_in_flight"):
            faces(clip_frames, 0.2)
        took_s = time.monotonic() - began
        return took_s, len(faces(clip_frames, 60))

    with DeepfakeClient(published_server.url, max_in_flight=1) as client:
        took_s, found = ask(client.faces)
        assert 0.15 < took_s < 2 and found == 1
    asking = AsyncDeepfakeClient(published_server.url, max_in_flight=1)
    took_s, found = ask(lambda clip, timeout_s: asyncio.run(asking.faces(clip, timeout_s)))
    assert 0.15 < took_s < 2 and found == 1, "in three event loops, one after the other"
    asyncio.run(asking.close())


@pytest.mark.triton
def test_a_hanging_server_never_gets_the_memory_of_a_given_up_call_again(
    published_server: TritonServer, clip_frames: FrameBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "GIVE_UP_S", 1.0)
    with DeepfakeClient(published_server.url) as client:
        wanted = client.faces(clip_frames)
        pool = client._exchange.transport.pools[published_server.url]
        (lent,) = pool._registered
        os.kill(published_server.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded):
                client.faces(clip_frames, timeout_s=0.3)
            assert lent in pool._registered and not pool._free, "it is still lent"
            deadline = time.monotonic() + 10
            while client._connections.in_flight():
                assert time.monotonic() < deadline, "a call is given up after a bounded time"
                time.sleep(0.05)
            assert lent not in pool._registered
        finally:
            os.kill(published_server.process.pid, signal.SIGCONT)
        again = client.faces(clip_frames)
        assert again[0].fake_probability == wanted[0].fake_probability and lent not in pool._registered
    assert published_server.process.poll() is None


@pytest.mark.fast
@pytest.mark.parametrize(("version", "cancels"), [("2.51.0", False), ("2.57.0", True), ("", False)])
def test_only_a_triton_with_the_fix_hears_of_it(version: str, cancels: bool, clip_frames: FrameBatch) -> None:
    with listening(version) as (url, listener), DeepfakeClient(url) as client:
        assert client.model().version == "1"
        few = FrameBatch(clip_frames.data[:4], clip_frames.pts_seconds[:4], clip_frames.end_seconds)
        with pytest.raises(DeadlineExceeded):  # a plain gRPC server takes 4 MB
            client.faces(few, timeout_s=0.3)
        assert listener.asked.is_set() and listener.cancelled.wait(1.0) is cancels
        listener.release.set()


INTERRUPTED = """
import sys
from deepfake_triton.client import DeepfakeClient, FrameSelection
client = DeepfakeClient(sys.argv[1])
try: client.detect(sys.argv[2], FrameSelection(4, windows=3))
except KeyboardInterrupt: print("interrupted", flush=True)
"""


@pytest.mark.triton
def test_ctrl_c_ends_a_script_that_closes_nothing(clip_path: Path) -> None:
    with listening("2.51.0") as (url, listener):
        script = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, url, str(clip_path)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        assert listener.asked.wait(60)
        script.send_signal(signal.SIGINT)
        began = time.monotonic()
        said, _ = script.communicate(timeout=50)
        took_s = time.monotonic() - began
        assert said == "interrupted\n" and script.returncode == 0
        assert took_s < exchange.CLOSE_TIMEOUT_S + 5, "calls are waited for, but not until their deadline"


LEAVES = """
import asyncio, sys
import numpy as np
from deepfake_triton.client import AsyncDeepfakeClient, DeepfakeClient, FrameBatch
from deepfake_triton.errors import DeadlineExceeded
clip = FrameBatch(np.zeros((40, 360, 640, 3), np.uint8), np.arange(40.0), 40.0)
client = (DeepfakeClient if sys.argv[2] == "sync" else AsyncDeepfakeClient)(sys.argv[1])
def ask(timeout_s):
    faces = client.faces(clip, timeout_s)
    return faces if sys.argv[2] == "sync" else asyncio.run(faces)
ask(60)
try: ask(0.15)
except DeadlineExceeded: print(len(client._connections.in_flight()), flush=True)
"""


@pytest.mark.triton
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_process_that_ends_without_closing_cancels_nothing(
    published_server: TritonServer, kind: str
) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, published_server.url, kind],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "1\n" and done.stderr == "", done.stderr
    assert time.monotonic() - began < 60 and published_server.process.poll() is None
    with DeepfakeClient(published_server.url) as client:
        assert client.model()


@pytest.mark.fast
def test_which_versions_cancel_safely() -> None:
    assert [cancels_safely(text) for text in ("2.51.0", "2.56.1", "2.57.0", "3.0.0", "", "dev")] == [
        *(False, False, True, True),
        *(False, False),
    ]


@pytest.mark.triton
def test_the_asynchronous_client_raises_typed_errors_only(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    client = AsyncDeepfakeClient(published_server.url)  # before there is any loop
    assert len(asyncio.run(client.faces(clip_frames))) == len(asyncio.run(client.faces(clip_frames))) == 1

    async def closed() -> None:
        await client.close()
        await client.close()
        with pytest.raises(ServerUnreachable, match="was closed"):
            await client.faces(clip_frames)

    asyncio.run(closed())
    for client_type in (DeepfakeClient, AsyncDeepfakeClient):
        for timeout_s in (0, -1, float("inf"), float("nan")):
            with pytest.raises(InvalidOption, match="timeout_s: got"):
                client_type(published_server.url, timeout_s=timeout_s)
        with pytest.raises(InvalidOption, match="max_in_flight: got 0"):
            client_type(published_server.url, max_in_flight=0)


@pytest.mark.triton
def test_errors_of_ten_callers_at_once_are_their_own(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    """Half of them do not wait for the answer; the other half get theirs."""

    def ask(number: int) -> object:
        try:
            return len(client.faces(clip_frames, timeout_s=0.01 if number % 2 else 60))
        except ServerError as error:
            return type(error)

    with DeepfakeClient(published_server.url) as client, ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(10)))
    assert found == [1, DeadlineExceeded] * 5
    assert issubclass(DeadlineExceeded, DeepfakeError)
