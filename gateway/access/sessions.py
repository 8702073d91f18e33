"""Sessions of the web page: a signed cookie instead of the API key, and tokens for its forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from deepfake_triton.errors import AccessRefused
from deepfake_triton.gateway.access.callers import ApiKey

SESSION_S = 12 * 3600
"""Time after which the page asks for the key again."""


@dataclass(frozen=True)
class Session:
    """A session of the page.

    Attributes:
        id: Random; the form's token is bound to it.
        key_name: Name of its API key.
        key_mark: Part of the key's hash: a replaced key ends the sessions of the former one.
    """

    id: str
    key_name: str
    key_mark: str


class Sessions:
    """Signed session cookies, valid until the gateway ends: its secret is never stored."""

    def __init__(self, *, secure: bool) -> None:
        secret = secrets.token_bytes(32)
        self._secure = secure
        # Browsers take a __Host- cookie only over TLS, from this very host, for all paths.
        self.cookie = "__Host-deepfake_session" if secure else "deepfake_session"
        self._cookies = URLSafeTimedSerializer(secret, salt="session")
        self._tokens = URLSafeSerializer(secret, salt="form")

    def open(self, key: ApiKey) -> str:
        """Return the value of a new session's cookie."""
        return self._cookies.dumps([secrets.token_urlsafe(16), key.name, mark_of(key)])

    def read(self, request: Request) -> Session | None:
        """Return the session of a request; None without one, or when it is forged or has expired."""
        try:
            fields = self._cookies.loads(request.cookies.get(self.cookie, ""), max_age=SESSION_S)
        except BadData:
            return None
        return Session(*fields)

    def set_cookie(self, response: Response, value: str) -> None:
        """Set the cookie of a new session: for this site only, out of scripts' reach."""
        response.set_cookie(
            self.cookie, value, SESSION_S, path="/", secure=self._secure, httponly=True, samesite="strict"
        )

    def delete_cookie(self, response: Response) -> None:
        """End the session in the browser."""
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="strict")

    def csrf_token(self, request: Request) -> str:
        """Return the token that a form of this session carries; empty without a session."""
        session = self.read(request)
        return self._tokens.dumps(session.id) if session else ""

    def require_csrf(self, request: Request, token: str | None) -> None:
        """Raise AccessRefused unless a form carries its session's token. Without a session, nothing in the
        request speaks for a user, and no token is needed."""
        if (session := self.read(request)) is None:
            return
        try:
            bound_to = self._tokens.loads(token or "")
        except BadData:
            bound_to = ""
        if not hmac.compare_digest(str(bound_to).encode(), session.id.encode()):
            raise AccessRefused("form: it was not sent by this session's page; load the page again")


def mark_of(key: ApiKey) -> str:
    """Return what a session keeps of a key's hash."""
    return hashlib.sha256(key.sha256.encode()).hexdigest()[:16]
