"""The arguments of a client, checked and frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deepfake_triton.client.protocol.retry import RetryPolicy
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.wire.connection_options import ConnectionOptions, require_seconds
from deepfake_triton.client.wire.transport import Transport
from deepfake_triton.client_defaults import DEFAULT_TIMEOUT_S
from deepfake_triton.contracts import JPEG_QUALITY
from deepfake_triton.errors import InvalidOption
from deepfake_triton.host.addresses import urls_from_text


@dataclass(frozen=True)
class ClientOptions:
    """Arguments of `DeepfakeClient`, which documents them; `urls` are the endpoints that `url` names.

    Raises ServerUnreachable for a malformed address, InvalidOption for a time or a number out of range.
    """

    url: str | Sequence[str]
    timeout_s: float = DEFAULT_TIMEOUT_S
    operating_point: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)
    max_in_flight: int | None = None
    evidence: EvidenceRule = field(default_factory=EvidenceRule)
    transport: Transport = Transport.AUTO
    jpeg_quality: int = JPEG_QUALITY
    urls: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        text = self.url if isinstance(self.url, str) else ",".join(self.url)
        object.__setattr__(self, "urls", urls_from_text(text))
        object.__setattr__(self, "timeout_s", require_seconds("timeout_s", self.timeout_s))
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise InvalidOption(f"max_in_flight: got {self.max_in_flight}, expected 1 or more, or None")
