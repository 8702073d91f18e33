"""Downloads from real HTTPS servers on loopback, which here alone counts as allowed."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from https_server import (
    Certificates,
    HttpsServer,
    certificates_for,
    endless,
    https_server,
    redirect,
    respond,
    send,
)

from deepfake_triton.errors import DeepfakeError, UploadTooLarge, UrlRefused, UrlUnavailable
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads import guarded_client, upload_pace, url_ingest
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts
from deepfake_triton.gateway.uploads.guarded_client import GuardedClient
from deepfake_triton.gateway.uploads.spool import Spool, Upload
from deepfake_triton.gateway.uploads.url_ingest import fetch

pytestmark = pytest.mark.fast

BODY = bytes(range(256)) * 1000
LIMITS = Limits(max_upload_bytes=2**20, job_timeout_s=20, spool_reserve_bytes=0)
FIRST, SECOND = ipaddress.ip_network("127.0.0.2/32"), ipaddress.ip_network("127.0.0.3/32")
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates_for(tmp_path_factory.mktemp("certificates"), "videos.test", "mirror.test")


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> dict[str, list[str]]:
    """What the names of these tests resolve to: one address for each lookup, the last one for good."""
    addresses = {"videos.test": ["127.0.0.2"], "mirror.test": ["127.0.0.3"], "inside.test": ["127.0.0.1"]}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in addresses:
            return resolve(host, port, *rest, **more)
        found = addresses[host].pop(0) if len(addresses[host]) > 1 else addresses[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    return addresses


@pytest.fixture
def server(certificates: Certificates) -> Iterator[HttpsServer]:
    with https_server(certificates, {}, "127.0.0.2") as serving:
        yield serving


def fetched(url: str, tmp_path: Path, server: HttpsServer, *, limits: Limits = LIMITS) -> Upload:
    """The upload; its spool and the server's port are allowed."""

    async def run() -> Upload:
        spool = Spool(tmp_path, limits)
        hosts = tuple(f"{name}.test:{server.port}" for name in ("videos", "mirror", "inside"))
        try:
            return await fetch(url, hosts=hosts, spool=spool, limits=limits, networks=(FIRST, SECOND))
        finally:
            spool.close()

    return asyncio.run(run())


def url_of(server: HttpsServer, path: str = "/clip.mp4", host: str = "videos.test") -> str:
    return f"https://{host}:{server.port}{path}"


def refusal(script: Any, server: HttpsServer, tmp_path: Path, *, limits: Limits = LIMITS) -> DeepfakeError:
    """The error for what a server answers."""
    server.scripts["/clip.mp4"] = script
    with pytest.raises(DeepfakeError) as refused:
        fetched(url_of(server, "/clip.mp4?token=secret"), tmp_path, server, limits=limits)
    assert "secret" not in str(refused.value)
    return refused.value


def test_a_file_comes_with_its_name_and_hash(
    server: HttpsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    caplog.set_level(logging.DEBUG)
    server.scripts["/a/interview%20two.mp4"] = respond(BODY)
    upload = fetched(url_of(server, "/a/interview%20two.mp4?token=secret#part"), tmp_path, server)
    assert (upload.name, upload.size_bytes) == ("interview two.mp4", len(BODY))
    assert upload.sha256 == hashlib.sha256(BODY).hexdigest()
    assert upload.file.read() == BODY
    upload.close()
    [request] = server.requests
    assert request.startswith("GET /a/interview%20two.mp4?token=secret HTTP/1.1")
    assert f"host: videos.test:{server.port}" in request.lower()
    assert "accept-encoding: identity" in request.lower() and "authorization" not in request.lower()
    assert "secret" not in caplog.text and "interview" not in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_authorities_are_read_once_and_not_in_the_event_loop(
    server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    create = httpx.create_ssl_context

    def create_ssl_context() -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return create()

    monkeypatch.setattr(httpx, "create_ssl_context", create_ssl_context)
    guarded_client._context_for.cache_clear()
    server.scripts["/clip.mp4"] = respond(BODY)
    for _ in range(3):
        fetched(url_of(server), tmp_path, server).close()
    assert len(readers) == 1 and readers[0] is not threading.main_thread()


def test_a_redirect_to_an_allowed_host_is_followed(
    server: HttpsServer, certificates: Certificates, tmp_path: Path
) -> None:
    with https_server(certificates, {"/b.mp4": respond(BODY)}, "127.0.0.3", server.port) as mirror:
        server.scripts["/clip.mp4"] = redirect(url_of(mirror, "/b.mp4", "mirror.test"))
        assert fetched(url_of(server), tmp_path, server).name == "b.mp4"
        assert len(mirror.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://videos.test:{port}/b.mp4",
        "https://inside.test:{port}/b.mp4",
        "https://127.0.0.1:{port}/b.mp4",
        "https://other.test:{port}/b.mp4",
        "file:///etc/passwd",
        "https://user@videos.test:{port}/b.mp4",
        "//inside.test:{port}/b.mp4",
        "https://[/",
    ],
)
def test_a_redirect_is_checked_as_the_url_is(
    server: HttpsServer, certificates: Certificates, tmp_path: Path, location: str
) -> None:
    with https_server(certificates, {"/b.mp4": respond(BODY)}, "127.0.0.1", server.port) as inside:
        error = refusal(redirect(location.format(port=server.port)), server, tmp_path)
        assert isinstance(error, UrlRefused)
        assert inside.callers == 0 and len(server.requests) == 1


def test_a_name_that_moves_to_this_host_is_not_followed(
    server: HttpsServer, certificates: Certificates, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    names["videos.test"] = ["127.0.0.2", "127.0.0.1"]
    server.scripts["/clip.mp4"] = respond(BODY)
    with https_server(certificates, {"/clip.mp4": respond(b"secret")}, "127.0.0.1", server.port) as inside:
        assert fetched(url_of(server), tmp_path, server).size_bytes == len(BODY), "one lookup, one address"
        with pytest.raises(UrlRefused, match="not public"):
            fetched(url_of(server), tmp_path, server)
        names["videos.test"] = ["127.0.0.2", "127.0.0.1"]
        assert isinstance(refusal(redirect("/again"), server, tmp_path), UrlRefused)
        assert inside.callers == 0


def test_redirects_in_a_circle_end(server: HttpsServer, tmp_path: Path) -> None:
    error = refusal(redirect("/clip.mp4"), server, tmp_path)
    assert isinstance(error, UrlUnavailable) and "more than 5 redirects" in str(error)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (respond(b"no", status="404 Not Found"), UrlUnavailable, "status 404"),
        (respond(b"part", status="206 Partial Content"), UrlUnavailable, "status 206"),
        (respond(b""), UrlUnavailable, "no bytes"),
        (respond(b"x", "Content-Encoding: gzip"), UrlUnavailable, "compressed"),
        (respond(b"", status="302 Found"), UrlUnavailable, "redirects to no address"),
        (send(HEAD + b"Content-Length: 1000\r\n\r\nshort"), UrlUnavailable, "connection failed"),
        (send(HEAD + b"Content-Length: 99999999\r\n\r\n"), UploadTooLarge, "99999999 bytes"),
        (send(HEAD + b"Content-Length: -5\r\n\r\nx"), UrlUnavailable, "connection failed"),
        (send(b"SSH-2.0-OpenSSH\r\n"), UrlUnavailable, "connection failed"),
        (send(b""), UrlUnavailable, "connection failed"),
        (endless(HEAD + b"\r\n", bytes(2**16)), UploadTooLarge, "or more"),
        (
            endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(2**16) + b"\r\n"),
            UploadTooLarge,
            "or more",
        ),
        (endless(HEAD, b"X-Header: " + b"x" * 2**16 + b"\r\n"), UrlUnavailable, "connection failed"),
    ],
)
def test_answers_that_are_no_file(
    server: HttpsServer, tmp_path: Path, script: Any, kind: type[Exception], says: str
) -> None:
    error = refusal(script, server, tmp_path)
    assert isinstance(error, kind) and says in str(error)
    assert list(tmp_path.iterdir()) == []


def test_headers_that_trickle_are_not_waited_for(
    server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_ingest, "HEADERS_TIMEOUT_S", 0.3)
    error = refusal(endless(HEAD, b"X-A: b\r\n", pause_s=0.05), server, tmp_path)
    assert isinstance(error, UrlUnavailable) and "does not answer in time" in str(error)


def test_a_body_that_trickles_is_not_waited_for(
    server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_pace, "GRACE_S", 0.2)
    error = refusal(endless(HEAD + b"\r\n", b"x", pause_s=0.02), server, tmp_path)
    assert isinstance(error, UrlUnavailable) and "bytes a second" in str(error)


def test_the_whole_download_has_a_limit(server: HttpsServer, tmp_path: Path) -> None:
    began_s = time.monotonic()
    script = endless(HEAD + b"\r\n", bytes(2**10), pause_s=0.02)
    error = refusal(script, server, tmp_path, limits=Limits(job_timeout_s=0.4, spool_reserve_bytes=0))
    assert isinstance(error, UrlUnavailable) and "longer than 0.4 s" in str(error)
    assert time.monotonic() - began_s < 10


def test_a_certificate_of_an_unknown_authority_is_refused(
    server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = refusal(respond(BODY), server, tmp_path)
    assert isinstance(error, UrlUnavailable) and "not trusted here" in str(error)
    assert server.requests == []


def test_a_certificate_of_another_name_is_refused(
    certificates: Certificates, tmp_path: Path, server: HttpsServer
) -> None:
    with https_server(certificates, {"/clip.mp4": respond(BODY)}, "127.0.0.3") as other:
        hosts = AllowedHosts((f"127.0.0.3:{other.port}",))

        async def ask() -> None:
            async with GuardedClient(hosts, (SECOND,)).stream("GET", url_of(other, host="127.0.0.3")):
                pass

        with pytest.raises(UrlUnavailable, match="not trusted here"):
            asyncio.run(ask())


def test_a_post_reaches_its_host_and_follows_nothing(server: HttpsServer) -> None:
    server.scripts |= {"/hook": respond(b"x" * 5000, status="202 Accepted"), "/moved": redirect("/hook")}
    client = GuardedClient(AllowedHosts((f"videos.test:{server.port}",)), (FIRST,))
    post = client.post(url_of(server, "/hook"), b'{"a": 1}', headers={"webhook-id": "7"})
    assert asyncio.run(post) == 202
    assert "webhook-id: 7" in server.requests[0] and server.requests[0].startswith("POST /hook")
    assert asyncio.run(client.post(url_of(server, "/moved"), b"", headers={})) == 302
    assert len(server.requests) == 2
