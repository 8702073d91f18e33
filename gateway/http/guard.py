"""Around every request: which site it comes from, headers that protect browsers, one line in the log."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from deepfake_triton.client.wire.request_log import RECORD_FIELDS
from deepfake_triton.errors import AccessRefused, GatewayBusy
from deepfake_triton.gateway.access.headers import SECURITY_HEADERS
from deepfake_triton.gateway.access.sites import Sites
from deepfake_triton.gateway.http.answers import error_response, template_of

MAX_REQUESTS = 1000
"""Most requests at once, followers of events included; each is an open connection."""
REQUEST_LOG = logging.getLogger("deepfake_triton.gateway.requests")
_BODY_HEADERS = {b"content-length", b"transfer-encoding"}
_PROBES = {"/healthz", "/readyz", "/metrics"}
"""Paths that are answered however many requests are under way."""


class Guard:
    """A finished application that refuses foreign sites, adds headers to all of its answers, errors of its
    own included, answers HEAD as GET without the body, and logs.

    The log has the route's template, never the path, the query or a header: it names no file and no job.
    """

    def __init__(self, app: Starlette, *, sites: Sites) -> None:
        self._app, self._sites = app, sites
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        method = "GET" if exchange.is_head else scope["method"]
        inside = {**scope, "app": self._app, "method": method, "request_id": exchange.id}
        is_counted = scope["path"] not in _PROBES
        self._num_requests += is_counted
        try:
            if is_counted:
                self._require_room()
            self._sites.require(Request(inside))
        except (AccessRefused, GatewayBusy) as error:
            answer = error_response(Request(inside), error)
            await answer(inside, exchange.receive, exchange.send)
        else:
            # Starlette answers 500 and has its handler log the error; then it raises it again, for the server
            # to log with its text, which may name a stranger's file.
            with contextlib.suppress(Exception):
                await self._app(inside, exchange.receive, exchange.send)
        finally:
            self._num_requests -= is_counted
            exchange.log(scope["method"], template_of(inside))

    def _require_room(self) -> None:
        if self._num_requests > MAX_REQUESTS:
            raise GatewayBusy(f"gateway: {MAX_REQUESTS} requests are under way; try again later")


class _Exchange:
    """One request and its answer, on their way through the guard."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        names = [name for name, _ in scope["headers"]]
        self._is_received = (b"content-length", b"0") in scope["headers"] or not _BODY_HEADERS & set(names)
        self._is_ambiguous = set(names) >= _BODY_HEADERS
        self._started = time.monotonic()
        self.is_head = scope["method"] == "HEAD"
        self.id = secrets.token_hex(8)
        self.status = 0

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.monotonic() - self._started) * 1000

    def log(self, method: str, route: str) -> None:
        """Log the request, at INFO."""
        fields = {
            "event": "request",
            "request_id": self.id,
            "method": method,
            "route": route,
            "status": self.status,
            "seconds": round(self.elapsed_ms / 1000, 4),
        }
        line = (method, route, self.status, self.elapsed_ms, self.id)
        REQUEST_LOG.info("%s %s %d %.0f ms %s", *line, extra={RECORD_FIELDS: fields})

    async def receive(self) -> Message:
        """Receive, and note whether the whole body has come."""
        message = await self._receive()
        self._is_received = self._is_received or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send with the headers of every answer; of an answer to HEAD, those alone."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add_headers(MutableHeaders(scope=message))
            await self._send(message)
            if self.is_head:  # at once: the events of a job come for as long as it runs
                await self._send({"type": "http.response.body"})
        elif not self.is_head:
            await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers["X-Request-ID"] = self.id
        # The rest of the body would be taken for the next request; so would one that a proxy has measured
        # otherwise (RFC 9112, 6.1).
        if not self._is_received or self._is_ambiguous:
            headers["Connection"] = "close"
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
