"""URLs that a caller may name: https, and a host that the operator has allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepfake_triton.errors import UrlRefused

if TYPE_CHECKING:
    import httpx

_HTTPS_PORT = 443
_ANY_HOST = "*"


@dataclass(frozen=True)
class AllowedHosts:
    """Hosts that a URL may name.

    Attributes:
        patterns: `videos.example.org`, `*.example.org` (one label more), or `*` for every host; each with
            `:PORT` where that is not 443.
    """

    patterns: tuple[str, ...]

    def require(self, url: str) -> httpx.URL:
        """Return a URL that is allowed, without its fragment; nobody is asked. Raises UrlRefused."""
        import httpx

        try:
            parsed = httpx.URL(url)
            host = parsed.raw_host.decode("ascii").lower().rstrip(".")
        except (httpx.InvalidURL, UnicodeError, TypeError) as error:
            raise UrlRefused("url: is none; expected https://HOST/PATH") from error
        if parsed.scheme != "https" or not host:
            raise UrlRefused(f"url: got the scheme {parsed.scheme[:20]!r}, expected https://HOST/PATH")
        if parsed.userinfo:
            raise UrlRefused("url: names a user or a password; leave them out")
        port = _HTTPS_PORT if parsed.port is None else parsed.port
        if not any(_matches(host, port, pattern) for pattern in self.patterns):
            raise UrlRefused(
                f"url: {show_host(parsed)} is not among the hosts that this gateway's operator has allowed"
            )
        return parsed.copy_with(host=host, fragment=None)


def show_host(url: httpx.URL) -> str:
    """Return host and unusual port, for messages and logs: neither path nor query, which may be secrets."""
    return url.netloc.decode("ascii", "replace")[:100]


def _matches(host: str, port: int, pattern: str) -> bool:
    """Return whether a pattern allows a host, in lower case and ASCII, and its port."""
    allowed, allowed_port = pattern.lower(), _HTTPS_PORT
    head, colon, tail = allowed.rpartition(":")
    if colon and tail.isdecimal() and (":" not in head or head.endswith("]")):
        allowed, allowed_port = head, int(tail)
    allowed = _ascii(allowed.strip("[]").rstrip("."))
    if port != allowed_port:
        return False
    if allowed.startswith("*."):
        label, _, parent = host.partition(".")
        return bool(label) and parent == allowed[2:]
    return allowed in (_ANY_HOST, host)


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name
