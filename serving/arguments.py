"""Triton's command line, and with it what is open to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deepfake_triton.contracts import SHARED_MEMORY_KEY
from deepfake_triton.serving.addresses import Listening
from deepfake_triton.serving.folder import ServerFolder
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.options import LOG_LEVELS, ServerOptions

DRAIN_TIMEOUT_S = 30
SHARED_MEMORY_BYTES = 32 * 2**20
"""A Python model's first region; it grows, but growing costs a request milliseconds."""
SHORTEST_PING_MS = 5000
"""How often a client may ask whether the connection lives."""
CONNECTION_AGE_MS = 3_600_000
"""A gRPC connection is asked to leave after so long, and cut after as long again."""


@dataclass(frozen=True)
class Access:
    """What callers may ask of a server over each protocol; `secret` opens the rest to `serve` alone."""

    options: ServerOptions
    http_is_loopback: bool
    secret: str = field(repr=False)
    shared_memory_key: str | None = field(repr=False)

    @property
    def http_inference(self) -> bool:
        """Whether it is open: never beside an encrypted gRPC, which it would go around."""
        return self.options.http_inference and not self.options.is_encrypted

    @property
    def grpc_model_control(self) -> bool:
        """Whether clients may load and unload models over gRPC."""
        return self.options.model_control == "explicit"

    @property
    def http_model_control(self) -> bool:
        """The same over HTTP, which only this host may reach where gRPC is encrypted."""
        return self.grpc_model_control and (self.http_is_loopback or not self.options.is_encrypted)

    def secret_arguments(self) -> list[str]:
        """Triton's options that hold the secret or the key."""
        grpc, http = ["trace", "logging"], ["trace", "logging", "shared-memory"]
        if not self.grpc_model_control:
            grpc.append("model-repository")
        if not self.http_model_control:
            http.append("model-repository")
        if not self.http_inference:
            http.append("inference")
        if not self.shared_memory_key:
            grpc.append("shared-memory")
        secret = f"{HttpApi.SECRET_HEADER}={self.secret}"
        arguments = [
            f"--grpc-restricted-protocol={','.join(grpc)}:{secret}",
            f"--http-restricted-api={','.join(http)}:{secret}",
        ]
        if self.shared_memory_key:
            key = f"{SHARED_MEMORY_KEY}={self.shared_memory_key}"
            arguments.append(f"--grpc-restricted-protocol=shared-memory:{key}")
        return arguments

    def without_secrets(self, line: str) -> str:
        """A line of Triton's log that may be shown."""
        for secret in filter(None, (self.secret, self.shared_memory_key)):
            line = line.replace(secret, "(hidden)")
        return line

    def open_to_callers(self) -> tuple[list[str], list[str]]:
        """In words: what is open over gRPC, and over HTTP."""
        grpc, http = ["health", "metadata", "inference"], ["health", "metadata"]
        if self.shared_memory_key:
            who = "holders of its key" if self.options.shared_memory_key else "this user"
            grpc.append(f"shared memory for {who}")
        if self.http_inference:
            http.append("inference")
        if self.grpc_model_control:
            grpc.append("model control")
        if self.http_model_control:
            http.append("model control")
        return grpc, http


def command_line(
    options: ServerOptions, at: Listening, folder: ServerFolder, models: Sequence[str]
) -> list[str]:
    """Triton's options that everyone may read."""
    shown = LOG_LEVELS.index(options.log_level)
    arguments = [
        f"--model-repository={folder.models}",
        f"--backend-directory={folder.backends}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in models),
        f"--grpc-address={at.grpc.address.for_grpc}",
        f"--http-address={at.http.address.for_http}",
        f"--metrics-address={at.metrics.address.for_http}",
        f"--grpc-port={at.grpc.port}",
        f"--http-port={at.http.port}",
        f"--metrics-port={at.metrics.port}",
        f"--exit-timeout-secs={DRAIN_TIMEOUT_S}",
        "--rate-limit=execution_count",  # as configs say: what was begun is finished first
        f"--grpc-http2-min-recv-ping-interval-without-data={SHORTEST_PING_MS}",
        "--grpc-infer-allocation-pool-size=0",  # else eight of the largest requests stay in memory
        f"--grpc-max-connection-age={CONNECTION_AGE_MS}",
        f"--grpc-max-connection-age-grace={CONNECTION_AGE_MS}",  # a cancelled request can end Triton 2.51
        *_tls_arguments(options),
        f"--log-warning={shown >= 1}".lower(),
        f"--log-info={shown >= 2}".lower(),
        f"--log-verbose={int(shown >= 3)}",
    ]
    for backend in ("python", "onnxruntime"):
        arguments.append(f"--backend-config={backend},shm-default-byte-size={SHARED_MEMORY_BYTES}")
        arguments.append(f"--backend-config={backend},shm-region-prefix-name={folder.shared_memory_prefix}")
    return arguments


def _tls_arguments(options: ServerOptions) -> list[str]:
    if options.tls_certificate is None or options.tls_key is None:
        return []
    named = {"server-cert": options.tls_certificate, "server-key": options.tls_key}
    if options.tls_client_ca:
        named["root-cert"] = options.tls_client_ca
    kind = "ssl-mutual" if options.tls_client_ca else "ssl"
    return [f"--grpc-use-{kind}=true", *(f"--grpc-{name}={path}" for name, path in named.items())]
