"""Addresses behind which something else answers: each is named for what it is, and none is asked for long."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from network import TcpProxy, certificates_in, free_port

from deepfake_triton import cli
from deepfake_triton.client import ConnectionOptions, DeepfakeClient
from deepfake_triton.errors import InferenceFailed, ServerUnreachable, WrongEndpoint
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates_in(tmp_path_factory.mktemp("certificates"))


@contextmanager
def grpc_server(credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def refusal(url: str, connection: ConnectionOptions | None = None) -> str:
    """What the client says of the endpoint, at once though it has a minute."""
    began = time.monotonic()
    with (
        DeepfakeClient(url, timeout_s=60, connection=connection or ConnectionOptions()) as client,
        pytest.raises(WrongEndpoint) as raised,
    ):
        client.model()
    assert time.monotonic() - began < 5
    return str(raised.value)


def test_the_http_port() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        assert "name the gRPC port" in refusal(f"127.0.0.1:{web.server_port}")
        web.shutdown()


def test_tritons_own_http_port(published_server: TritonServer) -> None:
    assert "name the gRPC port" in refusal(f"127.0.0.1:{published_server.http_port}")


def test_tls_on_one_side_only(certificates: Path) -> None:
    key, certificate = ((certificates / name).read_bytes() for name in ("server.key", "server.pem"))
    with grpc_server(grpc.ssl_server_credentials([(key, certificate)])) as url:
        assert "the server requires TLS; use --tls, or --ca FILE" in refusal(url)
        assert "not by an authority that is trusted" in refusal(url, ConnectionOptions(tls=True))
    with grpc_server() as url:
        encrypted = ConnectionOptions(root_certificates=certificates / "ca.pem")
        assert "leave TLS out" in refusal(url, encrypted)


def test_a_connection_may_take_its_time(certificates: Path) -> None:
    """A TLS handshake over a slow line takes longer than gRPC's shortest backoff."""
    key, certificate = ((certificates / name).read_bytes() for name in ("server.key", "server.pem"))
    with grpc_server(grpc.ssl_server_credentials([(key, certificate)])) as url:
        options = ConnectionOptions(root_certificates=certificates / "ca.pem")
        with (
            TcpProxy(url, delay_s=0.15) as slow,
            DeepfakeClient(slow.url, timeout_s=20, connection=options) as client,
            pytest.raises(InferenceFailed, match="Method not found"),
        ):
            client.model()


def test_what_an_option_shows_ends_with_2_and_what_a_contact_shows_with_1(
    *,
    certificates: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in ("https://localhost:8001", "::1:8001", "localhost"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["detect", "a.mp4", "--url", url])
        assert ended.value.code == 2 and "expected HOST:PORT" in capsys.readouterr().err
    for timeout in ("inf", "0", "-1", "nan"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["detect", "a.mp4", f"--timeout={timeout}"])
        assert ended.value.code == 2
    (tmp_path / "empty.pem").write_text("")
    assert cli.main(["detect", "a.mp4", "--ca", str(tmp_path / "empty.pem")]) == 2
    assert "is no PEM file" in capsys.readouterr().err
    monkeypatch.setenv("DEEPFAKE_TRITON_TOKEN", "abc\nx")
    assert cli.main(["detect", "a.mp4"]) == 2 and "token: holds a line break" in capsys.readouterr().err
    monkeypatch.delenv("DEEPFAKE_TRITON_TOKEN")
    with grpc_server() as url:
        options = ["--json", "--ca", str(certificates / "ca.pem"), "--url", url]
        assert cli.main(["detect", str(tmp_path / "missing.mp4"), *options]) == 1
        assert json.loads(capsys.readouterr().out)["error"]["type"] == "VideoNotFound"


def test_a_proxy_of_the_environment_does_not_take_loopback() -> None:
    with grpc_server() as url:
        code = (
            "import sys\nfrom deepfake_triton.client import DeepfakeClient\n"
            "from deepfake_triton.errors import ServerError\n"
            "try: DeepfakeClient(sys.argv[1], timeout_s=10).model()\n"
            "except ServerError as error: print(type(error).__name__, error)\n"
        )
        proxy = f"http://127.0.0.1:{free_port()}"
        environment = {"http_proxy": proxy, "https_proxy": proxy, "grpc_proxy": proxy, "PATH": "/usr/bin"}
        done = subprocess.run(
            [sys.executable, "-c", code, url], env=environment, capture_output=True, text=True, check=True
        )
    assert "InferenceFailed" in done.stdout, "the server was reached, which has no such method"


def test_nobody_is_not_waited_for_long() -> None:
    began = time.monotonic()
    with (
        DeepfakeClient(f"127.0.0.1:{free_port()}", timeout_s=60) as client,
        pytest.raises(ServerUnreachable, match="is deepfake-triton serve running"),
    ):
        client.model()
    assert 9 < time.monotonic() - began < 20
