"""A gateway process that is killed, or told to stop, while uploads come in, wait, and are judged."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from detector_calls import call, refusal_in, requests_of
from gateway_process import GatewayProcess, gateway_process
from process_watch import everyone, files_under
from serve_command import alive, descendants, serving, wait_until

from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.slow

WAITING = 12
CALLS = 3
ENDS_WITHIN_S = 60


@dataclass(frozen=True)
class HalfUpload:
    """A request of which the first half has been sent."""

    connection: socket.socket
    rest: bytes

    def finish(self) -> bytes:
        """Send the rest, and return the whole answer."""
        self.connection.sendall(self.rest)
        return b"".join(iter(lambda: self.connection.recv(65536), b""))


@contextmanager
def half_upload(gateway: GatewayProcess, content: bytes) -> Iterator[HalfUpload]:
    """Send the first half of an upload."""
    address, middle = urlsplit(gateway.url), len(content) // 2
    head = f"POST /v1/detect HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        connection.sendall(head.encode() + content[:middle])
        yield HalfUpload(connection, content[middle:])


def post(gateway: GatewayProcess, content: bytes, *, windows: int) -> httpx.Response:
    query = {"windows": windows, "frames": 4}
    return httpx.post(f"{gateway.url}/v1/detect", params=query, content=content, timeout=90, trust_env=False)


def num_jobs(gateway: GatewayProcess) -> float:
    """How many jobs run or wait."""
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    lines = [line.split() for line in text.splitlines()]
    return sum(float(line[1]) for line in lines if line[0] in {"gateway_jobs_running", "gateway_jobs_queued"})


def test_a_killed_gateway_leaves_nothing_and_the_next_one_starts(
    published_repository: Path, clip_bytes: bytes, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    with (
        serving(
            published_repository
        ) as triton,  # which may die of the calls that are cut off, and comes back
        ThreadPoolExecutor(WAITING) as threads,
        gateway_process(triton.grpc, tmp_path) as gateway,
        half_upload(gateway, clip_bytes),
    ):
        waiting = [threads.submit(post, gateway, clip_bytes, windows=64) for _ in range(WAITING)]
        assert wait_until(lambda: num_jobs(gateway) == WAITING, 30)
        pid = gateway.process.pid
        assert wait_until(lambda: len(descendants(pid)) > 1, 10), "a decoder runs"
        below = descendants(pid)
        assert len(files_under(spool, {pid})) > WAITING, "those of all jobs, and the half one's"
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(10)
        assert all(isinstance(job.exception(30), httpx.TransportError) for job in waiting)
        assert wait_until(lambda: not alive(below), 10), "no decoder goes on"
        assert not files_under(spool, everyone()), "no room on the disk is in use"
        assert list(spool.iterdir()) == list((tmp_path / "tmp").iterdir()) == []
        with gateway_process(triton.grpc, tmp_path, ports=gateway.ports) as following:
            assert following.ports == gateway.ports
            assert wait_until(lambda: httpx.get(f"{following.url}/readyz").status_code == 200, 60)
            assert post(following, clip_bytes, windows=1).json()["faces"]
            assert not [
                path for path in Path("/dev/shm").glob("deepfake-triton-client-*") if str(pid) in path.name
            ]


def test_a_gateway_that_is_told_to_stop_under_load_answers_everyone(
    published_server: TritonServer, clip_bytes: bytes, tmp_path: Path
) -> None:
    with (
        ThreadPoolExecutor(2 * WAITING) as threads,
        gateway_process(published_server.url, tmp_path) as gateway,
        ExitStack() as uploading,
    ):
        half = [uploading.enter_context(half_upload(gateway, clip_bytes)) for _ in range(4)]
        waiting = [threads.submit(post, gateway, clip_bytes, windows=6) for _ in range(WAITING)]
        calls = [threads.submit(_call, gateway, clip_bytes) for _ in range(CALLS)]
        assert wait_until(lambda: num_jobs(gateway) == WAITING + CALLS, 30)
        below = descendants(gateway.process.pid)
        started = time.monotonic()
        gateway.process.terminate()
        outcomes = [_outcome(job) for job in waiting]
        ends = {each.result(ENDS_WITHIN_S) for each in calls}
        statuses = {status for status, _ in outcomes}
        assert 503 in statuses <= {200, 503} and (200 in statuses or "verdict" in ends), (
            "some ran, others waited"
        )
        assert {error for status, error in outcomes if status == 503} == {"GatewayBusy"}
        assert ends <= {"verdict", "UNAVAILABLE GatewayBusy"}
        for each in half:
            answer = each.finish()
            assert answer.startswith(b"HTTP/1.1 503") and b'"GatewayBusy"' in answer, answer
        assert gateway.process.wait(ENDS_WITHIN_S) == 0
        print(f"ended after {time.monotonic() - started:.1f} s: {outcomes}")
        assert wait_until(lambda: not alive(below), 5)
        assert list((tmp_path / "spool").iterdir()) == list((tmp_path / "tmp").iterdir()) == []


def _outcome(job: Future[httpx.Response]) -> tuple[int, str | None]:
    """Status of an answer, and the type of its problem."""
    answer = job.result(ENDS_WITHIN_S)
    document: Any = answer.json()
    if answer.status_code == 200:
        assert document["faces"]
        return 200, None
    assert answer.headers["content-type"] == "application/problem+json" and answer.headers["retry-after"]
    return answer.status_code, document["error"]


def _call(gateway: GatewayProcess, content: bytes) -> str:
    """What a gRPC call ends with."""
    try:
        *_, last = call(gateway.grpc, requests_of(content, frames=4, windows=2))
    except grpc.RpcError as error:
        refusal = refusal_in(error)
        return f"{refusal.code} {refusal.error}"
    return str(last.WhichOneof("event"))
