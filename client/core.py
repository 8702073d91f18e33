"""Base of both clients: arguments, flows, and connections; all but the waiting."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from deepfake_triton.client.protocol.exchange import Exchange
from deepfake_triton.client.protocol.options import ClientOptions
from deepfake_triton.client.protocol.request_counts import RequestCounts
from deepfake_triton.client.protocol.retry import RetryPolicy
from deepfake_triton.client.sending.connection_pool import ConnectionPool
from deepfake_triton.client.sending.senders import run_flow
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.client.video_session import Video, VideoSession
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.client.wire.request_log import log_warning
from deepfake_triton.client.wire.transport import Transport
from deepfake_triton.client_defaults import DEFAULT_TIMEOUT_S, DEFAULT_URL
from deepfake_triton.contracts import JPEG_QUALITY
from deepfake_triton.preprocessing.video.sampling import FrameSelection


class ClientCore:
    """Base of `DeepfakeClient` and `AsyncDeepfakeClient`: their constructor, and the flows that they carry
    out."""

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        operating_point: str | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        connection: ConnectionOptions = ConnectionOptions(),  # noqa: B008 - frozen
        max_in_flight: int | None = None,
        evidence: EvidenceRule = EvidenceRule(),  # noqa: B008 - frozen
        transport: Transport = Transport.AUTO,
        jpeg_quality: int = JPEG_QUALITY,
    ) -> None:
        """Prepare connections, which open with the first request.

        Args:
            url: gRPC addresses as host:port, several separated by commas or as a sequence: tried round-robin,
                with failover.
            timeout_s: Time-out of one video, decoding and retries included.
            operating_point: Name of the thresholds for FAKE and REAL among those of the server's model, such
                as `balanced` (the default) or `conservative`.
            retry: When a failed request is sent again.
            connection: Encryption, credentials and keep-alive.
            max_in_flight: Most requests on their way to each server, those that nobody waits for any more
                included; None: no limit.
            evidence: What a face must show for a verdict.
            transport: How frames reach the server.
            jpeg_quality: Quality of `Transport.JPEG`, 1…100.

        Raises:
            ServerUnreachable: `url` is malformed.
            InvalidOption: A time or a number is out of range.
            PermissionDenied: A certificate or a key is missing.
        """
        self._options = ClientOptions(
            url,
            timeout_s=timeout_s,
            operating_point=operating_point,
            retry=retry,
            connection=connection,
            max_in_flight=max_in_flight,
            evidence=evidence,
            transport=transport,
            jpeg_quality=jpeg_quality,
        )
        for readable in connection.urls_exposing_token(self._options.urls):
            log_warning(f"{readable}: the token goes there unencrypted, for anyone on the way to read")
        self._exchange = Exchange(self._options)
        self._connections = ConnectionPool(self._options.urls, connection)
        self._finalizer = _close_when_collected(self, self._exchange, self._connections)

    @property
    def known_model(self) -> ModelInfo | None:
        """The model that answered last, if one did."""
        return self._exchange.models.last

    @property
    def request_counts(self) -> RequestCounts:
        """What became of the clips that this client sent so far, by server."""
        return self._exchange.counter.so_far()

    def _session(self, video: Video, selection: FrameSelection | None) -> VideoSession:
        options = self._options
        return VideoSession(
            video, selection or FrameSelection(), timeout_s=options.timeout_s, evidence=options.evidence
        )


def _close_when_collected(
    client: ClientCore, exchange: Exchange, connections: ConnectionPool
) -> weakref.finalize[..., Any]:
    """Close what a client that nobody holds any more has left open, in a thread of its own: any thread may be
    the one that collects it. When the process ends, its calls are waited for, but none is started."""

    def close() -> None:
        if connections.begin_close():
            run_flow(exchange.close(), connections)
            connections.close()

    def close_in_thread() -> None:
        if os.getpid() == connections.process_id:  # else it is the parent's
            threading.Thread(target=close, daemon=True).start()

    finalizer = weakref.finalize(client, close_in_thread)
    finalizer.atexit = False
    return finalizer
