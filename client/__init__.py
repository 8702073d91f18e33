"""Client of a deepfake detection server: verdicts on videos, over gRPC.

>>> from deepfake_triton.client import DeepfakeClient
>>> with DeepfakeClient("localhost:8001", timeout_s=30) as client:  # doctest: +SKIP
...     verdict = client.detect("interview.mp4")
"""

from deepfake_triton.client.async_client import AsyncDeepfakeClient
from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.protocol.request_counts import RequestCounts
from deepfake_triton.client.protocol.retry import RetryPolicy
from deepfake_triton.client.sending.calls_in_flight import CallsInFlight
from deepfake_triton.client.sync_client import DeepfakeClient
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Sighting,
    Verdict,
    VideoVerdict,
)
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.client.wire.tracing import trace_context
from deepfake_triton.client.wire.transport import Transport
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

__all__ = [
    "AsyncDeepfakeClient",
    "CallsInFlight",
    "ConnectionOptions",
    "DeepfakeClient",
    "DetectionProgress",
    "EvidenceRule",
    "FaceVerdict",
    "FrameBatch",
    "FrameSelection",
    "Latency",
    "ModelInfo",
    "RequestCounts",
    "RetryPolicy",
    "Sampling",
    "Segment",
    "Sighting",
    "Transport",
    "Verdict",
    "VideoVerdict",
    "trace_context",
]
