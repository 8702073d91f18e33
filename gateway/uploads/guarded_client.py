"""HTTPS to addresses that a caller names: allowed hosts only, and no address that is not public.

A name is looked up once, every address that it has is checked, and the connection goes to one that was
checked, so that a name cannot lead elsewhere a moment later. No proxy of the environment is used, no redirect
followed, and no credentials are sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from deepfake_triton import __version__
from deepfake_triton.errors import UrlUnavailable
from deepfake_triton.gateway.time_limit import within
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts, show_host
from deepfake_triton.gateway.uploads.public_addresses import Network, public_addresses

if TYPE_CHECKING:
    import httpx

HEADERS_TIMEOUT_S = 20.0
"""From the first packet to the last header."""
READ_TIMEOUT_S = 20.0
"""Longest silence."""


@dataclass(frozen=True)
class GuardedClient:
    """Requests to hosts that are allowed, each on a connection of its own.

    Attributes:
        hosts: Hosts that a URL may name.
        networks: Addresses that are allowed although they are not public.
        headers_timeout_s: Time-out of an answer's headers.
    """

    hosts: AllowedHosts
    networks: tuple[Network, ...] = ()
    headers_timeout_s: float = HEADERS_TIMEOUT_S

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Yield the answer once its headers are there, whatever its status; the caller reads the body.

        Raises UrlRefused, or UrlUnavailable for a host that cannot be reached; neither names path or query.
        """
        import httpx

        target = self.hosts.require(url)
        _silence_logs()
        addresses = await public_addresses(target.host, target.port or 443, self.networks)
        async with AsyncExitStack() as stack:
            # The variable SSL_CERT_FILE may name authorities, but no proxy is taken from the environment.
            client = await stack.enter_async_context(
                httpx.AsyncClient(verify=await _tls_context(), trust_env=False, timeout=READ_TIMEOUT_S)
            )
            requests = [
                client.build_request(
                    method,
                    target.copy_with(host=address),
                    headers=_headers(target, headers),
                    content=content,
                    extensions={"sni_hostname": target.raw_host.decode("ascii")},
                )
                for address in addresses
            ]
            response = await self._first_answer(client, requests, target=target)
            stack.push_async_callback(response.aclose)
            try:
                yield response
            except httpx.HTTPError as error:  # while the body is read
                raise _unavailable(error, target) from error

    async def post(self, url: str, content: bytes, *, headers: Mapping[str, str]) -> int:
        """Post a body, and return the status of the answer, whose body is not read. Raises as `stream`."""
        async with self.stream("POST", url, headers=headers, content=content) as response:
            return response.status_code

    async def _first_answer(
        self, client: httpx.AsyncClient, requests: list[httpx.Request], *, target: httpx.URL
    ) -> httpx.Response:
        """Send the request to the first address that takes a connection. Raises UrlUnavailable."""
        import httpx

        for request in requests:
            sending = client.send(request, stream=True, follow_redirects=False)
            try:
                return await within(sending, self.headers_timeout_s)
            except httpx.ConnectError as error:
                if request is requests[-1]:
                    raise _unavailable(error, target) from error
            except (OSError, ValueError, asyncio.TimeoutError, httpx.HTTPError) as error:
                raise _unavailable(error, target) from error
        raise UrlUnavailable(f"url: {show_host(target)} has no address")


async def _tls_context() -> ssl.SSLContext:
    """Return the authorities that are trusted, which are read once, beside the event loop."""
    return await asyncio.to_thread(
        _context_for, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    )


@lru_cache(maxsize=1)
def _context_for(_cert_file: str | None, _cert_dir: str | None) -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


def _headers(target: httpx.URL, headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return what is sent: the name that was asked for as host, and a wish for the bytes as they are."""
    return {
        "User-Agent": f"deepfake-triton/{__version__}",
        "Accept-Encoding": "identity",
        **(headers or {}),
        "Host": target.netloc.decode("ascii"),
    }


def _unavailable(error: Exception, target: httpx.URL) -> UrlUnavailable:
    """Return the typed error, in which neither the URL nor what a name resolved to stands."""
    import httpx

    host = show_host(target)
    if isinstance(error, asyncio.TimeoutError | httpx.TimeoutException):
        return UrlUnavailable(f"url: {host} does not answer in time")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UrlUnavailable(f"url: {host} shows a certificate that is not trusted here")
    return UrlUnavailable(f"url: {host}: the connection failed ({type(error).__name__})")


def _silence_logs() -> None:
    """Keep URLs, whose queries may hold secrets, out of the logs of the libraries."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
