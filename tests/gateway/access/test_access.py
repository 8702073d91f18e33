from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from deepfake_triton.errors import AccessRefused, RateLimited, Unauthenticated
from deepfake_triton.gateway.access import key_file, sessions
from deepfake_triton.gateway.access.access import Access
from deepfake_triton.gateway.access.callers import ANYONE
from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.dependencies import key_in
from deepfake_triton.gateway.settings import GatewaySettings

pytestmark = pytest.mark.fast


def request_with(**headers: str) -> Request:
    """A request with these headers, `_` for `-`."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": pairs})


def test_without_keys_anyone_may_ask_as_often_as_they_like() -> None:
    access = Access(GatewaySettings())
    assert not access.has_keys
    assert access.caller_by_key(None) == access.caller_by_session(request_with()) == ANYONE
    for _ in range(100):
        access.require_rate(ANYONE)
    access.require_job_slot(ANYONE, 1000)


def test_a_key_names_its_caller(tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys", "first")
    access = Access(GatewaySettings(api_keys=tmp_path / "keys"))
    assert access.has_keys and access.caller_by_key(key).name == "first"
    for wrong in (None, "", "first", key + "x"):
        with pytest.raises(Unauthenticated):
            access.caller_by_key(wrong)
    with pytest.raises(Unauthenticated):
        access.caller_by_session(request_with())
    assert key_in(request_with(authorization=f"Bearer {key}")) == key
    assert key_in(request_with(authorization=f"bearer  {key}")) == key
    assert key_in(request_with(x_api_key=key)) == key
    assert key_in(request_with(authorization="Basic Zm9v")) is None


def test_rate_and_jobs_at_once_are_those_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    slow, fast = create_key(path, "slow", rate="2/hour", max_jobs=1), create_key(path, "fast")
    access = Access(GatewaySettings(api_keys=path))
    caller, other = access.caller_by_key(slow), access.caller_by_key(fast)
    access.require_rate(caller)
    access.require_rate(caller)
    with pytest.raises(RateLimited, match="2 per 1 hour") as refused:
        access.require_rate(caller)
    assert 3500 < (refused.value.retry_after_s or 0) <= 3600
    access.require_rate(other)
    access.require_job_slot(caller, 0)
    with pytest.raises(RateLimited, match="jobs at once"):
        access.require_job_slot(caller, 1)
    access.require_job_slot(other, 1000)


@pytest.mark.parametrize("tls", [False, True])
def test_a_session_stands_for_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    monkeypatch.setattr(key_file, "_RECHECK_S", 0)
    path, pem = tmp_path / "keys", tmp_path / "pem"
    key = create_key(path, "first")
    settings = GatewaySettings(
        api_keys=path, tls_certificate=pem if tls else None, tls_key=pem if tls else None
    )
    access = Access(settings)
    line = access.caller_by_key(key).key
    assert line is not None
    response = Response()
    access.sessions.set_cookie(response, access.sessions.open(line))
    cookie = response.headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert ("secure" in parts) == tls and cookie.startswith("__Host-") == tls
    assert key not in cookie
    value = cookie.partition(";")[0]
    assert access.caller_by_session(request_with(cookie=value)).name == "first"

    ((name, morsel),) = SimpleCookie(value).items()
    forged = f"{name}={morsel.value[:-2]}{'AA' if not morsel.value.endswith('AA') else 'BB'}"
    for wrong in (forged, f"{name}=", value.replace("deepfake", "other")):
        with pytest.raises(Unauthenticated):
            access.caller_by_session(request_with(cookie=wrong))
    with pytest.raises(Unauthenticated):  # of another gateway, or before a restart
        Access(settings).caller_by_session(request_with(cookie=value))
    path.write_text("")
    create_key(path, "first")
    with pytest.raises(Unauthenticated):
        access.caller_by_session(request_with(cookie=value))


def test_a_session_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create_key(tmp_path / "keys", "first")
    access = Access(GatewaySettings(api_keys=tmp_path / "keys"))
    line = access.caller_by_key(key).key
    assert line is not None
    request = request_with(cookie=f"{access.sessions.cookie}={access.sessions.open(line)}")
    assert access.sessions.read(request) is not None
    monkeypatch.setattr(sessions, "SESSION_S", -1)
    assert access.sessions.read(request) is None


def test_a_form_carries_the_token_of_its_session(tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys", "first")
    access = Access(GatewaySettings(api_keys=tmp_path / "keys"))
    line = access.caller_by_key(key).key
    assert line is not None
    own, other = (
        request_with(cookie=f"{access.sessions.cookie}={access.sessions.open(line)}") for _ in range(2)
    )
    token = access.sessions.csrf_token(own)
    assert token
    access.sessions.require_csrf(own, token)
    for wrong in (None, "", token[:-1], access.sessions.csrf_token(other)):
        with pytest.raises(AccessRefused):
            access.sessions.require_csrf(own, wrong)
    assert access.sessions.csrf_token(request_with()) == ""
    access.sessions.require_csrf(request_with(), None)
