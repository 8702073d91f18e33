"""The parts of one gateway, which its REST, gRPC and page share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from deepfake_triton.client.async_client import AsyncDeepfakeClient
from deepfake_triton.gateway.access.access import Access
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.jobs.jobs import Jobs
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.readiness import Readiness
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.gateway.uploads.spool import Spool


@dataclass(frozen=True)
class Services:
    """The parts of one gateway.

    Attributes:
        settings: What it was started with.
        client: Asks the Tritons.
        spool: Receives uploads.
        decoders: Child processes that decode.
        jobs: The queue, and the jobs that have ended lately.
        access: Keys, their limits, sessions.
        metrics: Numbers for Prometheus.
        readiness: Whether a Triton answers.
        uploading: Number of bodies being received, by owner.
    """

    settings: GatewaySettings
    client: AsyncDeepfakeClient
    spool: Spool
    decoders: DecoderPool
    jobs: Jobs
    access: Access
    metrics: GatewayMetrics
    readiness: Readiness
    uploading: Counter[str | None] = field(default_factory=Counter)
