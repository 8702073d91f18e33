from __future__ import annotations

import pytest
from starlette.requests import Request

from deepfake_triton.errors import AccessRefused
from deepfake_triton.gateway.access.sites import Sites
from deepfake_triton.gateway.settings import GatewaySettings

pytestmark = pytest.mark.fast

LOCAL = GatewaySettings(allowed_hosts=("Videos.example.org",))
PUBLIC = GatewaySettings(host="0.0.0.0", allow_no_keys=True, allowed_hosts=("videos.example.org",))


def ask(settings: GatewaySettings, method: str = "GET", **headers: str) -> None:
    """Ask the rule about a request with these headers, `_` for `-`."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    Sites(settings).require(Request({"type": "http", "method": method, "headers": pairs}))


@pytest.mark.parametrize(
    "host",
    ["localhost:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST", "videos.example.org:443"],
)
def test_our_names_are_served(host: str) -> None:
    ask(LOCAL, host=host)
    ask(PUBLIC, host=host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "[::1",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "evil.example:80@localhost:8080",
        "localhost/evil.example",
        "localhost#evil.example",
        "localhost\\evil.example",
        "localhost evil.example",
        ":80",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    for settings in (LOCAL, PUBLIC):
        with pytest.raises(AccessRefused, match="Host"):
            ask(settings, host=host)


def test_an_address_of_this_machine_cannot_be_rebound() -> None:
    ask(PUBLIC, host="192.0.2.7:8080")
    with pytest.raises(AccessRefused):
        ask(LOCAL, host="192.0.2.7:8080")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8080"},
        {"origin": "https://localhost:8080"},
        {"origin": "https://videos.example.org"},
        {"sec_fetch_site": "same-origin", "origin": "null"},
        {"sec_fetch_site": "none"},
        {"authorization": "Bearer x", "cookie": "a=b"},
        {"x_api_key": "x", "cookie": "a=b"},
    ],
)
def test_own_pages_and_programs_may_post(headers: dict[str, str]) -> None:
    ask(LOCAL, "POST", host="localhost:8080", **headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9090"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://localhost:8080"},
        {"cookie": "a=b"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_other_sites_may_not(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(AccessRefused):
        ask(LOCAL, method, host="localhost:8080", **headers)
    ask(LOCAL, "GET", host="localhost:8080", **headers)
