"""Settings of one gateway, checked and frozen."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_triton.client_defaults import DEFAULT_URL
from deepfake_triton.errors import InvalidFrames, InvalidOption
from deepfake_triton.host.addresses import is_http_url, is_loopback, urls_from_text

if TYPE_CHECKING:
    from deepfake_triton.client.wire.connection_options import ConnectionOptions

GIB = 2**30
DEFAULT_WINDOWS = 8
"""Windows of a video where people choose none: on the page and for `judge`."""


@dataclass(frozen=True)
class Limits:
    """What one gateway takes on.

    Attributes:
        max_upload_bytes: Largest file.
        max_duration_seconds: Longest video.
        max_windows: Most windows of one video that a caller may ask for.
        max_running: Jobs that are decoded and judged at once.
        max_queued: Jobs that wait; one more is refused.
        max_kept: Jobs in memory, ended ones included; the oldest ended ones go first.
        retention_s: Time for which an ended job and its preview are kept.
        job_timeout_s: Time-out of one job from the start of decoding.
        decoder_memory_bytes: Memory that a decoding process may use beside what it starts with.
        decoder_cpu_s: CPU time that a decoding process may use.
        spool_reserve_bytes: Free space that uploads leave on the disk of the spool.
        spool_bytes: Most that uploads may take there; None: what is free. For a volume whose limit is not its
            disk's, such as an emptyDir of Kubernetes.
    """

    max_upload_bytes: int = 2 * GIB
    max_duration_seconds: float = 4 * 3600
    max_windows: int = 1000
    max_running: int = field(default_factory=lambda: max(2, min(8, os.cpu_count() or 2)))
    max_queued: int = 100
    max_kept: int = 1000
    retention_s: float = 600.0
    job_timeout_s: float = 600.0
    decoder_memory_bytes: int = 2 * GIB
    decoder_cpu_s: int = 600
    spool_reserve_bytes: int = 256 * 2**20
    spool_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.spool_bytes is not None and self.spool_bytes < self.max_upload_bytes:
            raise InvalidOption(
                f"--spool-size: got {self.spool_bytes} bytes, expected the largest upload at least "
                f"(--max-upload, {self.max_upload_bytes})"
            )

    def require_windows(self, windows: int | None) -> None:
        """Raise InvalidFrames for more windows of a video than may be asked for."""
        if windows is not None and windows > self.max_windows:
            raise InvalidFrames(f"windows: got {windows}, expected 1…{self.max_windows}; ask for fewer")


@dataclass(frozen=True)
class Webhooks:
    """Where finished jobs are announced.

    Attributes:
        secret: Key of the signatures (HMAC-SHA256).
        url: Address that gets every finished job; None: only those that a caller names.
        allowed_hosts: Hosts that a caller may name in the header `Webhook-URL`.
    """

    secret: str = field(repr=False)
    url: str | None = None
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class GatewaySettings:
    """Settings of one gateway.

    Attributes:
        urls: gRPC addresses of the Triton servers.
        connection: Encryption and credentials towards them; None: plain text, no token.
        host: Address to listen on.
        port: Port of REST and the page; 0: a free one.
        grpc_port: Port of gRPC for video files; 0: a free one, None: no gRPC.
        limits: What it takes on.
        spool: Folder of uploads; None: the system's folder for temporary files.
        api_keys: File of hashed API keys; None: anyone who reaches the port may ask.
        allow_no_keys: Listen on an address other than loopback without keys.
        tls_certificate: PEM of the server with its chain, for REST and gRPC.
        tls_key: PEM of its private key.
        allowed_hosts: Names in a request's `Host` beside `host` and loopback's.
        url_hosts: Hosts from which a video may be fetched by its URL; empty: none.
        webhooks: None: no webhooks.
        c2pa_trust: PEM of the certificate authorities whose Content Credentials are trusted.
        trace_endpoint: URL of an OpenTelemetry collector (OTLP over HTTP); None: no spans.
        trace_rate: One of so many jobs is traced, beside those whose caller traces them.
        grace_s: Time for which running jobs go on when the gateway is told to stop.

    Raises:
        InvalidOption: Settings contradict each other.
    """

    urls: tuple[str, ...] = urls_from_text(DEFAULT_URL)
    connection: ConnectionOptions | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = 8081
    limits: Limits = field(default_factory=Limits)
    spool: Path | None = None
    api_keys: Path | None = None
    allow_no_keys: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    url_hosts: tuple[str, ...] = ()
    webhooks: Webhooks | None = None
    c2pa_trust: Path | None = None
    trace_endpoint: str | None = None
    trace_rate: int = 1000
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidOption("--tls-certificate and --tls-key belong together; name both")
        if not is_loopback(self.host) and self.api_keys is None and not self.allow_no_keys:
            raise InvalidOption(
                f"--host {self.host}: others can reach it, and without --api-keys anyone may ask; name a "
                "file of keys, or say --no-api-keys"
            )
        if self.trace_endpoint is not None and not is_http_url(self.trace_endpoint):
            raise InvalidOption(
                f"--trace-endpoint: got {self.trace_endpoint!r:.200}, expected a URL such as "
                "http://localhost:4318/v1/traces"
            )
        if self.trace_rate < 1:
            raise InvalidOption(f"--trace-rate: got {self.trace_rate}, expected 1 or more")
