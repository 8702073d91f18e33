"""Options of a connection: encryption, credentials, keep-alive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from deepfake_triton.contracts import SHARED_MEMORY_KEY
from deepfake_triton.errors import InvalidOption, PermissionDenied
from deepfake_triton.host.addresses import grpc_channel_options, is_loopback, split_host_port

# Triton's header for the keys of restricted protocols, and the name that `serve` gives this key.
_KEY_HEADER = f"triton-grpc-protocol-{SHARED_MEMORY_KEY}"
_FIRST_RECONNECT_MS, _LAST_RECONNECT_MS = 100, 3000
_CONNECT_TIMEOUT_MS = 10_000
"""Time for a connection attempt, TLS included: gRPC takes its least backoff for that."""
DEFAULT_KEEPALIVE_S = 10.0
LONGEST_TIME_S = 7 * 86_400.0
"""Longest time-out that is accepted."""


@dataclass(frozen=True)
class ConnectionOptions:
    """Encryption, credentials and keep-alive of a connection; plain text by default.

    Attributes:
        tls: Encrypt, trusting this machine's certificate authorities.
        root_certificates: Encrypt, trusting the authorities in this PEM file.
        private_key: PEM file with the client's key, for mutual TLS; belongs to `certificate_chain`.
        certificate_chain: PEM file with the client's certificate chain.
        token: Bearer token.
        keepalive_s: Seconds between pings while a request is on its way, which find a dead connection or a
            server that hangs; None: no pings. `deepfake-triton serve` allows one every 5 s.
        shared_memory_key: Key to the shared memory of a server that restricts it; None: this user's own key,
            for this user's servers.

    Raises:
        PermissionDenied: No header can carry the token or the key.
        InvalidOption: `keepalive_s` is out of range.
    """

    tls: bool = False
    root_certificates: str | Path | None = None
    private_key: str | Path | None = None
    certificate_chain: str | Path | None = None
    token: str | None = None
    keepalive_s: float | None = DEFAULT_KEEPALIVE_S
    shared_memory_key: str | None = None

    def __post_init__(self) -> None:
        if self.keepalive_s is not None:
            require_seconds("keepalive_s", self.keepalive_s)
        if self.token is not None:
            object.__setattr__(self, "token", header_value("token", self.token))
        if self.shared_memory_key is not None:
            key = header_value("shared memory key", self.shared_memory_key)
            object.__setattr__(self, "shared_memory_key", key)

    @property
    def encrypts(self) -> bool:
        """Whether the connection uses TLS."""
        return self.tls or any((self.root_certificates, self.private_key, self.certificate_chain))

    def urls_exposing_token(self, urls: Sequence[str]) -> list[str]:
        """Return those of `urls` on other hosts that would get the token without encryption."""
        if not self.token or self.encrypts:
            return []
        return [url for url in urls if not is_loopback(split_host_port(url)[0])]

    def sends_token_in_clear(self, urls: Sequence[str]) -> list[str]:
        """Former name of `urls_exposing_token`."""
        return self.urls_exposing_token(urls)

    def channel(self, url: str) -> grpc.Channel:
        """Create a channel to `host:port`, which connects when it is first used, and takes the addresses of a
        name in turn. Raises PermissionDenied, see `credentials`."""
        credentials = self.credentials()
        options: list[tuple[str, int | str]] = [
            *grpc_channel_options(url),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", _CONNECT_TIMEOUT_MS),
            ("grpc.max_reconnect_backoff_ms", _LAST_RECONNECT_MS),
        ]
        if not is_loopback(split_host_port(url)[0]):  # a name such as that of a headless Service
            options.append(("grpc.lb_policy_name", "round_robin"))
        if self.keepalive_s is not None:
            milliseconds = int(1000 * self.keepalive_s)
            # Newer gRPC waits for a ping's answer as long as its own time-out says, a minute by default.
            options += [
                ("grpc.keepalive_time_ms", milliseconds),
                ("grpc.keepalive_timeout_ms", milliseconds),
                ("grpc.http2.ping_timeout_ms", milliseconds),
            ]
        if credentials is None:
            return grpc.insecure_channel(url, options)
        return grpc.secure_channel(url, credentials, options)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials of an encrypted channel; None for a plain one. Raises PermissionDenied when
        a file is missing or is no PEM file, or one of two that belong together is not named."""
        for name, path in self._files().items():
            if path is not None and not Path(path).is_file():
                raise PermissionDenied(f"{name.replace('_', ' ')}: {path}: no such file")
        if (self.private_key is None) != (self.certificate_chain is None):
            raise PermissionDenied("a private key and its certificate chain belong together; name both")

        if not self.encrypts:
            return None
        content = {name: _pem(name, Path(path)) for name, path in self._files().items() if path}
        return grpc.ssl_channel_credentials(**content)

    def headers(self) -> dict[str, str]:
        """Return the metadata of every call."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def shared_memory_headers(self, users_key: str | None) -> dict[str, str]:
        """Return the metadata of calls about shared memory; `users_key` is the key where no other was
        named."""
        key = self.shared_memory_key or users_key
        return {**self.headers(), **({_KEY_HEADER: key} if key else {})}

    def _files(self) -> dict[str, str | Path | None]:
        return {
            "root_certificates": self.root_certificates,
            "private_key": self.private_key,
            "certificate_chain": self.certificate_chain,
        }


def _pem(name: str, path: Path) -> bytes:
    """Read a PEM file. Raises PermissionDenied when it is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PermissionDenied(f"{name.replace('_', ' ')}: {path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise PermissionDenied(f"{name.replace('_', ' ')}: {path}: is no PEM file")
    return content


def header_value(name: str, text: str) -> str:
    """Strip the line end that files and secrets come with. Raises PermissionDenied for text that no header
    can carry; the message does not repeat it."""
    value = text.strip()
    if not value or not value.isascii() or not value.isprintable():
        what = "a line break or another character that no header carries" if value else "nothing"
        raise PermissionDenied(f"{name}: holds {what}; expected one line of printable ASCII")
    return value


def require_seconds(name: str, seconds: float) -> float:
    """Return `seconds` if it is within 0.001…LONGEST_TIME_S. Raises InvalidOption."""
    try:
        value = float(seconds)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0.001 <= value <= LONGEST_TIME_S:
        raise InvalidOption(f"{name}: got {seconds!r:.50}, expected 0.001…{LONGEST_TIME_S:g} seconds")
    return value
