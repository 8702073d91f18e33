"""Fetch a video by the URL that a caller names, into the spool: FFmpeg never sees an address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import unquote

from deepfake_triton.errors import UrlRefused, UrlUnavailable
from deepfake_triton.gateway.time_limit import within
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts, show_host
from deepfake_triton.gateway.uploads.guarded_client import HEADERS_TIMEOUT_S, GuardedClient
from deepfake_triton.gateway.uploads.public_addresses import Network
from deepfake_triton.gateway.uploads.spool import Spool, Upload
from deepfake_triton.gateway.uploads.upload_pace import in_time

if TYPE_CHECKING:
    import httpx

    from deepfake_triton.gateway.settings import Limits

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


async def fetch(
    url: str, *, hosts: tuple[str, ...], spool: Spool, limits: Limits, networks: tuple[Network, ...] = ()
) -> Upload:
    """Download what an https URL leads to, under the last part of its path as name.

    `hosts` are patterns of AllowedHosts, `networks` those of GuardedClient. Every redirect is checked as the
    URL is. The size is capped as an upload's, the time as a job's.

    Raises:
        UrlRefused: A scheme, host or address that is not allowed, also of a redirect.
        UrlUnavailable: No answer, or none with a file; a download that is too slow, or cut off.
        UploadTooLarge, SpoolFull: As for an upload.
    """
    client = GuardedClient(AllowedHosts(hosts), networks, HEADERS_TIMEOUT_S)
    host = show_host(client.hosts.require(url))
    try:
        return await within(_fetch(url, client, spool), limits.job_timeout_s)
    except asyncio.TimeoutError as error:
        raise UrlUnavailable(
            f"url: {host}: the download takes longer than {limits.job_timeout_s:g} s"
        ) from error


async def _fetch(url: str, client: GuardedClient, spool: Spool) -> Upload:
    for _ in range(MAX_REDIRECTS + 1):
        target = client.hosts.require(url)
        async with client.stream("GET", url) as response:
            if response.status_code not in _REDIRECTS:
                return await _receive(response, target, spool)
            location = response.headers.get("location")
        if not location:
            raise UrlUnavailable(f"url: {show_host(target)} redirects to no address")
        url = _joined(target, location)
    raise UrlUnavailable(f"url: {show_host(target)}: more than {MAX_REDIRECTS} redirects")


async def _receive(response: httpx.Response, target: httpx.URL, spool: Spool) -> Upload:
    host = show_host(target)
    if response.status_code != 200:
        raise UrlUnavailable(f"url: {host} answers with the status {response.status_code}, expected 200")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UrlUnavailable(f"url: {host} sends a compressed answer, which was not asked for")
    declared = response.headers.get("content-length", "")
    declared_bytes = int(declared) if declared.isdecimal() and len(declared) < 20 else None
    async with spool.receive(declared_bytes) as writer:
        async for chunk in in_time(
            response.aiter_raw(), lambda reason: UrlUnavailable(f"url: {host}: {reason}")
        ):
            await writer.write(chunk)
        if writer.size_bytes == 0:
            raise UrlUnavailable(f"url: {host} sends no bytes")
        return await writer.finish(unquote(target.path))


def _joined(target: httpx.URL, location: str) -> str:
    import httpx

    try:
        return str(target.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlRefused(f"url: {show_host(target)} redirects to what is no URL") from error
