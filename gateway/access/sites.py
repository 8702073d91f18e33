"""Which site a request is for, and from which it comes: against DNS rebinding and cross-site requests."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from starlette.requests import Request

from deepfake_triton.errors import AccessRefused
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.host.addresses import is_loopback

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}
_HOST = re.compile(r"[A-Za-z0-9._~-]+(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?", re.ASCII)
_OWN_FETCHES = {"same-origin", "none"}


class Sites:
    """The names under which this gateway is asked, and the rule for requests that change something."""

    def __init__(self, settings: GatewaySettings) -> None:
        names = {settings.host, socket.gethostname(), *settings.allowed_hosts}
        self._names = {_bare(name) for name in names}
        self._allowed = {_bare(name) for name in settings.allowed_hosts}
        self._is_local = is_loopback(settings.host)

    def require(self, request: Request) -> None:
        """Raise AccessRefused for a foreign `Host`, or another site's request that could change something."""
        host = request.headers.get("host", "")
        name = _name_in(host)
        if not self._is_ours(name):
            raise AccessRefused(
                f"Host: got {name!r}, which is no name of this gateway; add it with --allow-host"
            )
        if request.method not in _SAFE_METHODS:
            self._require_own_site(request, host)

    def _is_ours(self, name: str) -> bool:
        """A name of another's domain may be made to point here; an address cannot be."""
        if is_loopback(name) or name in self._names:
            return True
        return not self._is_local and _is_address(name)

    def _require_own_site(self, request: Request, host: str) -> None:
        fetched_from = request.headers.get("sec-fetch-site")
        if fetched_from is not None:
            if fetched_from not in _OWN_FETCHES:
                raise AccessRefused(f"Sec-Fetch-Site: got {fetched_from!r}; other sites may not ask")
            return
        origin = request.headers.get("origin")
        if origin is not None:
            # Behind a proxy the scheme may differ, so that hosts and ports are compared; and it may ask for
            # another host than the browser did.
            site = _site_of(origin)
            if site != host.lower() and _name_in(site) not in self._allowed:
                raise AccessRefused("Origin: another site; only the gateway's own pages may ask")
        elif request.headers.get("cookie") and not _shows_key(request):
            raise AccessRefused("no Origin: a request with a cookie must come from the gateway's own page")


def _shows_key(request: Request) -> bool:
    return "authorization" in request.headers or "x-api-key" in request.headers


def _site_of(origin: str) -> str:
    """Return the host and port of an origin in lower case; empty for `null` and malformed ones."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name_in(host: str) -> str:
    """Return the host without its port and brackets; empty if it is malformed."""
    if not _HOST.fullmatch(host):
        return ""
    try:
        return _bare(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return ""


def _bare(name: str) -> str:
    return name.strip("[]").lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
