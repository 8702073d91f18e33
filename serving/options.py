"""The options of `deepfake-triton serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deepfake_triton.errors import ServerFailed
from deepfake_triton.host.addresses import is_http_url, is_loopback
from deepfake_triton.repository.engine_cache import why_unfit

ModelControl = Literal["none", "explicit"]
LogLevel = Literal["error", "warning", "info", "verbose"]
LOG_LEVELS: tuple[LogLevel, ...] = ("error", "warning", "info", "verbose")
START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class ServerOptions:
    """Options of one server; a port of 0 stands for a free one. Raises ServerFailed for a contradiction."""

    repository: Path
    host: str = "127.0.0.1"
    """Address of gRPC, and of HTTP and metrics where they have none of their own."""
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    model_control: ModelControl = "none"
    """Whether callers may load and unload models: `explicit` lets them."""
    log_level: LogLevel = "error"
    """Level of Triton's own log."""
    start_timeout_s: float = START_TIMEOUT_S
    tls_certificate: Path | None = None
    """PEM of the server, with its chain; with it and `tls_key`, gRPC is encrypted."""
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """PEM of the authority that has to have signed the certificates of clients."""
    shared_memory_key: str | None = field(default=None, repr=False)
    """Key that opens shared memory to callers who send it; None: the key of this user does."""
    http_inference: bool = False
    """Open inference over HTTP, where one malformed request ends Triton 2.51; never beside encrypted gRPC."""
    http_host: str | None = None
    """Address of HTTP, which Triton cannot encrypt (None: see `plain_host`)."""
    metrics_host: str | None = None
    """Address of metrics, which Triton cannot encrypt either (None: see `plain_host`)."""
    triton: Path | None = None
    """Folder of the Triton to start, as in NVIDIA's container; None: the wheel's, else the container's."""
    engine_cache: Path | None = None
    """Folder of the TensorRT engines that the repository lacks for the local GPU; None: it lacks none."""
    require_signature: Path | None = None
    """Public key (PEM) that has to have signed the repository's record."""
    trace_endpoint: str | None = None
    """URL of an OpenTelemetry collector (OTLP, JSON over HTTP), such as http://collector:4318/v1/traces."""
    trace_rate: int = 1000
    """One of so many requests is traced, beside those whose caller traces them."""

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None) or (
            self.tls_client_ca and not self.tls_certificate
        ):
            raise ServerFailed(
                "--tls-certificate and --tls-key belong together, and --tls-client-ca needs both"
            )
        if self.engine_cache is not None:
            self._require_usable_cache(self.engine_cache)
        if self.trace_endpoint is not None:
            _require_trace_endpoint(self.trace_endpoint)
        if self.trace_rate < 1:
            raise ServerFailed(f"--trace-rate: got {self.trace_rate}, expected 1 or more")

    def _require_usable_cache(self, cache: Path) -> None:
        if self.model_control == "explicit":
            raise ServerFailed(
                "--engine-cache and --model-control explicit exclude each other: a version that is activated "
                "while the server runs has no engine; leave one out, and start the server again after "
                "`repository activate`"
            )
        if reason := why_unfit(cache, self.repository):
            raise ServerFailed(f"--engine-cache: {reason}")

    @classmethod
    def on_free_ports(cls, repository: Path) -> ServerOptions:
        """Return the defaults with a free port for each of the three endpoints."""
        return cls(repository, grpc_port=0, http_port=0, metrics_port=0)

    @property
    def is_encrypted(self) -> bool:
        """Whether gRPC is encrypted."""
        return self.tls_certificate is not None

    @property
    def plain_host(self) -> str:
        """Default address of HTTP and metrics: `host`, or loopback where gRPC is encrypted."""
        if not self.is_encrypted or is_loopback(self.host):
            return self.host
        return "::1" if ":" in self.host else "127.0.0.1"


def _require_trace_endpoint(url: str) -> None:
    """Raise ServerFailed for an address that Triton posts no spans to."""
    if not is_http_url(url, schemes=("http",)) or "," in url:
        raise ServerFailed(
            f"--trace-endpoint: got {url!r:.200}, expected a URL such as http://localhost:4318/v1/traces "
            "(the embedded Triton has no TLS for traces)"
        )
