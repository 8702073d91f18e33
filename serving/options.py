"""What `deepfake-triton serve` takes, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deepfake_triton.addresses import is_loopback
from deepfake_triton.errors import ServerFailed

ModelControl = Literal["none", "explicit"]
LogLevel = Literal["error", "warning", "info", "verbose"]
LOG_LEVELS: tuple[LogLevel, ...] = ("error", "warning", "info", "verbose")
START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class ServerOptions:
    """What `deepfake-triton serve` takes; a port of 0 stands for a free one.

    With a certificate and its key (PEM) gRPC is encrypted; with `tls_client_ca`, clients have to show a
    certificate of that authority. HTTP and metrics, which Triton cannot encrypt, listen on `host`, or on
    loopback where gRPC is encrypted, unless `http_host` and `metrics_host` name another address.
    `http_inference` opens inference over HTTP, where one malformed request ends Triton 2.51; never beside an
    encrypted gRPC. `shared_memory_key` opens shared memory to callers who send it; without one, the key of
    this user does.
    `require_signature` is the public key (PEM) that has to have signed the repository's record.
    """

    repository: Path
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    model_control: ModelControl = "none"
    log_level: LogLevel = "error"
    start_timeout_s: float = START_TIMEOUT_S
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    shared_memory_key: str | None = field(default=None, repr=False)
    http_inference: bool = False
    http_host: str | None = None
    metrics_host: str | None = None
    require_signature: Path | None = None

    def __post_init__(self) -> None:
        """Raise ServerFailed for options that do not go together."""
        if (self.tls_certificate is None) != (self.tls_key is None) or (
            self.tls_client_ca and not self.tls_certificate
        ):
            raise ServerFailed(
                "--tls-certificate and --tls-key belong together, and --tls-client-ca needs both"
            )

    @property
    def is_encrypted(self) -> bool:
        """Whether gRPC is."""
        return self.tls_certificate is not None

    @property
    def plain_host(self) -> str:
        """Where what cannot be encrypted listens unless told otherwise."""
        if not self.is_encrypted or is_loopback(self.host):
            return self.host
        return "::1" if ":" in self.host else "127.0.0.1"
