"""The HTTP port: what is closed there, and that nothing sent to it disturbs the callers of gRPC."""

from __future__ import annotations

import http.client
import json
import resource
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from network import idle_sockets, is_ended
from serve_command import COMMAND, serving

from deepfake_triton import contracts
from deepfake_triton.client import DeepfakeClient, FrameBatch
from deepfake_triton.serving.process import connections
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

ENSEMBLE = contracts.deepfake_detector().name
HUGE = 9_999_999_999
HUGE_SHAPE = json.dumps(
    {"inputs": [{"name": "frames", "datatype": "UINT8", "shape": [HUGE, HUGE, HUGE, 3], "data": []}]}
).encode()
CHUNKED = {"Transfer-Encoding": "chunked"}
BRACKETS = b"[" * 600_000
INFERENCE = (f"/v2/models/{ENSEMBLE}/infer", f"/v2/models/{ENSEMBLE}/generate")
OTHERS_THAT_PARSE = (
    "/v2/systemsharedmemory/region/x/register",
    "/v2/cudasharedmemory/region/x/register",
    "/v2/repository/index",
    f"/v2/repository/models/{ENSEMBLE}/load",
    "/v2/logging",
    "/v2/trace/setting",
)


def status_of(port: int, path: str, body: bytes, *, by_bytes: bool = False) -> int:
    """What a POST is answered; 0 where the connection is closed instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if by_bytes:
            chunks = (body[index : index + 1] for index in range(len(body)))
            connection.request("POST", path, chunks, encode_chunked=True, headers=CHUNKED)
        else:
            connection.request("POST", path, body)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_a_storm_of_bad_requests_changes_no_answer(
    published_server: TritonServer, client: DeepfakeClient, clip_frames: FrameBatch
) -> None:
    port, before = published_server.http_port, published_server.process.pid
    few = FrameBatch(clip_frames.data[:6], clip_frames.pts_seconds[:6], 1.0)
    expected = [face.fake_probability for face in client.faces(few)]
    assert expected
    storm = [
        (path, body, by_bytes)
        for path in INFERENCE
        for body, by_bytes in ((HUGE_SHAPE, False), (BRACKETS, False), (HUGE_SHAPE, True))
        for _ in range(50)
    ]
    with ThreadPoolExecutor(8) as bad, ThreadPoolExecutor(1) as good:
        statuses = bad.map(lambda each: status_of(port, each[0], each[1], by_bytes=each[2]), storm)
        answers = [good.submit(client.faces, few) for _ in range(10)]
        assert set(statuses) <= {403, 0}
        for answer in answers:
            assert [face.fake_probability for face in answer.result()] == expected
    assert published_server.process.poll() is None and published_server.process.pid == before


def test_nothing_that_a_stranger_sends_there_is_parsed(published_server: TritonServer) -> None:
    for path in (*INFERENCE, *OTHERS_THAT_PARSE):
        for body in (BRACKETS, HUGE_SHAPE):
            assert status_of(published_server.http_port, path, body) == 403, path
    assert published_server.process.poll() is None


def test_what_is_open_is_said(small_repository: Path) -> None:
    with serving(small_repository) as served:
        lines = served.said.splitlines()
        assert lines[0] == f"ready: {small_repository}" and [line.split()[0] for line in lines[1:4]] == [
            "gRPC",
            "HTTP",
            "metrics",
        ]
        assert "gRPC: health, metadata, inference, shared memory for this user" in lines[4]
        assert lines[5].split() == ["HTTP:", "health,", "metadata"]
        assert "let no untrusted caller reach it" in lines[6]


def test_the_help_says_what_http_inference_risks() -> None:
    done = subprocess.run([COMMAND, "serve", "--help"], capture_output=True, text=True, check=True)
    (said,) = [
        part for part in " ".join(done.stdout.split()).split(" --") if part.startswith("http-inference o")
    ]
    assert "malformed JSON request of 88 bytes ends Triton 2.51" in said


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: make system-deps")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_with_encryption_http_stays_on_this_host_and_takes_no_inference(
    small_repository: Path, certificate: tuple[Path, Path]
) -> None:
    options = replace(
        ServerOptions.on_free_ports(small_repository),
        host="0.0.0.0",
        model_control="explicit",
        tls_certificate=certificate[0],
        tls_key=certificate[1],
        http_inference=True,
    )
    with TritonServer(options) as server:
        assert (
            str(server.endpoints.http.address.ip) == str(server.endpoints.metrics.address.ip) == "127.0.0.1"
        )
        assert "model control" in server.access.exposed_endpoints().http
        assert status_of(server.http_port, "/v2/models/face_tracker/infer", HUGE_SHAPE) == 403
        assert status_of(server.http_port, "/v2/systemsharedmemory/region/x/register", b"{}") == 403
        assert status_of(server.http_port, "/v2/repository/index", b"") == 200
        for address in this_hosts_addresses():
            with socket.create_connection((address, server.grpc_port), timeout=5):
                pass
            for port in (server.http_port, server.metrics_port):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, port), timeout=5)


def test_with_encryption_http_opens_elsewhere_when_asked_but_not_to_model_control(
    small_repository: Path, certificate: tuple[Path, Path]
) -> None:
    options = replace(
        ServerOptions.on_free_ports(small_repository),
        model_control="explicit",
        tls_certificate=certificate[0],
        tls_key=certificate[1],
        http_host="0.0.0.0",
    )
    with TritonServer(options) as server:
        assert status_of(server.http_port, "/v2/repository/index", b"") == 403
        assert status_of(server.http_port, "/v2/models/face_tracker/infer", HUGE_SHAPE) == 403
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=5)
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        connection.close()
        assert str(server.endpoints.metrics.address.ip) == "127.0.0.1"


def this_hosts_addresses() -> list[str]:
    """IPv4 addresses other than loopback."""
    done = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False)
    return [address for address in done.stdout.split() if "." in address]


def test_idle_connections_shut_nobody_out_and_are_ended(
    small_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CHECK_EVERY_S", 0.5)
    monkeypatch.setattr(connections, "IDLE_S", 6.0)
    monkeypatch.setattr(connections, "SILENT_S", 6.0)
    options = ServerOptions.on_free_ports(small_repository)
    with TritonServer(options) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        (descriptors,) = [line.split()[3:5] for line in limits.splitlines() if "open files" in line]
        assert descriptors[0] == descriptors[1], "the limit is as high as it may be"
        watching = threading.Thread(target=server.wait)
        watching.start()
        port = server.http_port
        with (
            idle_sockets(port, 1000) as http_idle,
            idle_sockets(server.grpc_port, 50) as grpc_idle,
            ExitStack() as later,
        ):
            talking = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            ended_first = 0
            for number in range(12):  # one that is in use stays, and new ones are taken
                talking.request("GET", "/v2/health/ready")
                assert talking.getresponse().read() == b"" and talking.sock is not None
                if number < 5:  # before any has been idle for too long
                    ended_first = sum(map(is_ended, http_idle[:1000]))
                if number < 3:  # these are less idle at the next check than the one in use
                    http_idle.extend(later.enter_context(idle_sockets(port, 300)))
                time.sleep(1)
            assert ended_first >= 1000 - connections.MAX_HTTP_CONNECTIONS
            assert all(map(is_ended, http_idle)) and all(map(is_ended, grpc_idle))
            talking.close()
        server.process.terminate()
        watching.join(30)
        assert not watching.is_alive()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_body_without_end_does_not_fill_the_memory(small_repository: Path) -> None:
    options = ServerOptions.on_free_ports(small_repository)
    size = 4 * 2**30
    with TritonServer(options) as server:
        watching = threading.Thread(target=server.wait)
        watching.start()
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=5) as stranger:
            stranger.sendall(f"POST {INFERENCE[0]} HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
            sent, part = 0, bytes(2**20)
            with pytest.raises((ConnectionError, TimeoutError)):  # reset, or taken no more
                while sent < size:
                    stranger.sendall(part)
                    sent += len(part)
                    if sent % 2**24 == 0:
                        time.sleep(0.05)  # 320 MiB a second
        assert sent < 2**30 and resident_bytes(server.process.pid) < 2**30
        server.process.terminate()
        watching.join(30)


def test_an_open_connection_does_not_delay_the_end(small_repository: Path) -> None:
    options = ServerOptions.on_free_ports(small_repository)
    server = TritonServer(options)
    with server, idle_sockets(server.http_port, 3), idle_sockets(server.metrics_port, 3):
        begun_s = time.monotonic()
        server.close()
        assert time.monotonic() - begun_s < 20
