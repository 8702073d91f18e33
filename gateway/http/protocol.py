"""HTTP/1.1 connections: time-outs of slow senders, and refusals that a sender of a large body can read."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from deepfake_triton.gateway.access.headers import SECURITY_HEADERS
from deepfake_triton.gateway.problems import MEDIA_TYPE, status_problem

HEADER_TIMEOUT_S = 15.0
"""Most seconds from the start of a connection, or of a further request on it, to the end of its headers."""
MAX_HEADER_BYTES = 32 * 1024
"""Most bytes of a request's line and headers."""
LINGER_S = 5.0
"""Most seconds for which what a refused sender still sends is read and dropped."""


class LingeringTransport:
    """A transport whose close() first lets the other side read the answer.

    Closed with unread bytes, a connection is reset, and the answer is lost on its way: so the sending half is
    closed, and the other side's bytes are dropped for a few seconds.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._end: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def is_lingering(self) -> bool:
        """Whether what comes is dropped."""
        return self._end is not None

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return self.is_lingering or self._transport.is_closing()

    def linger(self) -> None:
        """Close after the time to linger, or when the other side has."""
        if self.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._end = asyncio.get_running_loop().call_later(LINGER_S, self.close)

    def close(self) -> None:
        """See asyncio.Transport."""
        if self._end:
            self._end.cancel()
        self._transport.close()


class GatewayProtocol(H11Protocol):
    """uvicorn's protocol with time-outs for headers, and problem objects for malformed requests."""

    transport: _Closing  # type: ignore[assignment]
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(_Closing(self, transport))  # type: ignore[arg-type]
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._stop_header_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._start_header_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request with a problem object; uvicorn calls this while it handles the error."""
        error = sys.exc_info()[1]
        if isinstance(error, h11.RemoteProtocolError):
            status, msg = HTTPStatus(error.error_status_hint), _reason(error)
        else:
            status = HTTPStatus.BAD_REQUEST
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            content = json.dumps(status_problem(status, msg)).encode()
            headers = {
                **SECURITY_HEADERS,
                "content-type": MEDIA_TYPE,
                "content-length": str(len(content)),
                "connection": "close",
            }
            for event in (
                h11.Response(status_code=status, headers=list(headers.items()), reason=status.phrase),
                h11.Data(data=content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.linger()

    @property
    def is_receiving(self) -> bool:
        """Whether a request's body is still to come."""
        return self.conn.their_state is h11.SEND_BODY

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._close_unheard)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _close_unheard(self) -> None:
        self._header_timer = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def _reason(error: h11.RemoteProtocolError) -> str:
    """Return what is wrong with a request, without the bytes that h11 repeats."""
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return f"request: its line and headers take over {MAX_HEADER_BYTES} bytes; send fewer"
    told = re.sub(r": (b|bytearray\(b)['\"].*", "", str(error), flags=re.DOTALL)
    return f"request: {told}; expected HTTP/1.1"


class _Closing(LingeringTransport):
    """The transport of a GatewayProtocol: it lingers where a body is still to come."""

    def __init__(self, protocol: GatewayProtocol, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def close(self) -> None:
        """See asyncio.Transport."""
        if self._protocol.is_receiving and not self.is_closing():
            self.linger()
        else:
            super().close()
