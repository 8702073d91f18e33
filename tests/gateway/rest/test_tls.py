from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from network import certificates_in
from running_gateway import running_gateway

from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority, and a server's certificate from it."""
    return certificates_in(tmp_path_factory.mktemp("pems"))


@pytest.fixture(scope="module")
def secure_gateway(published_server: TritonServer, pems: Path) -> Iterator[Listening]:
    """A gateway behind TLS, with keys."""
    create_key(pems / "keys", "first")
    settings = GatewaySettings(
        urls=(published_server.url,),
        port=0,
        grpc_port=None,
        api_keys=pems / "keys",
        tls_certificate=pems / "server.pem",
        tls_key=pems / "server.key",
    )
    with running_gateway(settings) as listening:
        yield listening


def test_rest_is_encrypted(secure_gateway: Listening, pems: Path) -> None:
    assert secure_gateway.url.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(pems / "ca.pem"))
    with httpx.Client(base_url=secure_gateway.url, verify=trusted, trust_env=False) as http:
        assert http.get("/healthz").status_code == 200
        key = create_key(pems / "keys", "second")
        assert http.get("/v1/limits").status_code == 401
        refused = http.post("/v1/detect", content=b"x" * 2**20, headers={"X-API-Key": key + "x"})
        assert (refused.status_code, refused.json()["error"]) == (401, "Unauthenticated")
    with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as http:
        http.get(f"{secure_gateway.url}/healthz")


def test_plain_http_gets_no_answer(secure_gateway: Listening) -> None:
    address = urlsplit(secure_gateway.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in connection.recv(1000)


def test_an_unusable_certificate_is_named(published_server: TritonServer, tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("no certificate")
    settings = GatewaySettings(
        urls=(published_server.url,),
        port=0,
        grpc_port=None,
        tls_certificate=tmp_path / "pem",
        tls_key=tmp_path / "pem",
    )
    with pytest.raises(InvalidOption, match="--tls-certificate"), running_gateway(settings):
        pass
