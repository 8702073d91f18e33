"""How a connection is made: encryption, who asks, and what keeps it alive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.contracts import SHARED_MEMORY_KEY
from deepfake_triton.errors import PermissionDenied

# Triton's prefix for the keys of protocols that are restricted, and the name that `serve` gives this one.
_KEY_HEADER = f"triton-grpc-protocol-{SHARED_MEMORY_KEY}"
_ANY_SIZE = -1
_FIRST_RECONNECT_MS, _LAST_RECONNECT_MS = 100, 3000


@dataclass(frozen=True)
class ConnectionOptions:
    """Plain by default. `root_certificates` (PEM) or `tls` encrypts; `private_key` and `certificate_chain`
    (PEM) show who asks, and so does `token`, sent as a bearer token. `keepalive_s` between pings finds a dead
    connection early; the server has to allow pings that often (`deepfake-triton serve` allows 5 s).
    `shared_memory_key` opens shared memory where a server keeps it to those who have the key."""

    tls: bool = False
    root_certificates: str | Path | None = None
    private_key: str | Path | None = None
    certificate_chain: str | Path | None = None
    token: str | None = None
    keepalive_s: float | None = None
    shared_memory_key: str | None = None

    def arguments(self) -> dict[str, Any]:
        """For tritonclient's clients, both kinds. Raises PermissionDenied when a file is not there."""
        files = {
            "root_certificates": self.root_certificates,
            "private_key": self.private_key,
            "certificate_chain": self.certificate_chain,
        }
        named = {name: path for name, path in files.items() if path is not None}
        for name, path in named.items():
            if not Path(path).is_file():
                raise PermissionDenied(f"{name.replace('_', ' ')}: {path}: no such file")
        if (self.private_key is None) != (self.certificate_chain is None):
            raise PermissionDenied("a private key and its certificate chain belong together; name both")
        channel: list[tuple[str, int]] = [
            ("grpc.max_send_message_length", _ANY_SIZE),
            ("grpc.max_receive_message_length", _ANY_SIZE),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", _LAST_RECONNECT_MS),
        ]
        if self.keepalive_s is not None:
            milliseconds = int(1000 * self.keepalive_s)
            channel += [("grpc.keepalive_time_ms", milliseconds), ("grpc.keepalive_timeout_ms", milliseconds)]
        encrypted = {name: str(path) for name, path in named.items()}
        return {"ssl": self.tls or bool(named), **encrypted, "channel_args": channel}

    def headers(self) -> dict[str, str] | None:
        """Metadata of every call."""
        return {"authorization": f"Bearer {self.token}"} if self.token else None

    def shared_memory_headers(self) -> dict[str, str] | None:
        """Metadata of calls about shared memory."""
        if not self.shared_memory_key:
            return self.headers()
        return {**(self.headers() or {}), _KEY_HEADER: self.shared_memory_key}
