"""Access control: the endpoints that callers may use over each protocol, and the secret for the rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from deepfake_triton.contracts import SHARED_MEMORY_KEY, SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.errors import SharedMemoryKeyUnusable
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.options import ServerOptions
from deepfake_triton.shared_memory.key import user_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exposed:
    """The endpoints exposed to callers over each protocol, in words."""

    grpc: tuple[str, ...]
    http: tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """The endpoints exposed to callers; `secret` opens the others to `serve` alone."""

    options: ServerOptions
    http_is_loopback: bool
    secret: str = field(repr=False)
    shared_memory_key: str | None = field(repr=False)

    @property
    def http_inference(self) -> bool:
        """Whether inference over HTTP is exposed: never beside encrypted gRPC, which it would bypass."""
        return self.options.http_inference and not self.options.is_encrypted

    @property
    def grpc_model_control(self) -> bool:
        """Whether clients may load and unload models over gRPC."""
        return self.options.model_control == "explicit"

    @property
    def http_model_control(self) -> bool:
        """Whether clients may do so over HTTP; from this host only where gRPC is encrypted."""
        return self.grpc_model_control and (self.http_is_loopback or not self.options.is_encrypted)

    def secret_arguments(self) -> list[str]:
        """Return Triton's options that hold the secret or the key."""
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

    def redact(self, line: str) -> str:
        """Return a line of Triton's log without the secret and the key."""
        for secret in filter(None, (self.secret, self.shared_memory_key)):
            line = line.replace(secret, "(hidden)")
        return line

    def exposed_endpoints(self) -> Exposed:
        """Return the exposed endpoints in words."""
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
        return Exposed(tuple(grpc), tuple(http))


def key_of_this_user() -> str | None:
    """Return the key of this user, or None, with a warning, where there is no place for one."""
    try:
        return user_key()
    except SharedMemoryKeyUnusable as error:
        logger.warning(
            "shared memory stays closed, and frames pass through gRPC: %s; or name a key in %s",
            error,
            SHARED_MEMORY_KEY_VARIABLE,
        )
        return None
