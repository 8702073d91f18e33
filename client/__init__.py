"""Ask a server for the verdict on a video.

>>> from deepfake_triton.client import DeepfakeClient
>>> with DeepfakeClient("localhost:8001", timeout_s=30) as client:  # doctest: +SKIP
...     verdict = client.detect("interview.mp4")
"""

from deepfake_triton.client.async_client import AsyncDeepfakeClient
from deepfake_triton.client.attempts import RetryPolicy
from deepfake_triton.client.client import DeepfakeClient
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.tracing import trace_context
from deepfake_triton.client.transport import Transport
from deepfake_triton.client.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Sighting,
    Verdict,
    VideoVerdict,
)
from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video import FrameBatch

__all__ = [
    "AsyncDeepfakeClient",
    "ConnectionOptions",
    "DeepfakeClient",
    "EvidenceRule",
    "FaceVerdict",
    "FrameBatch",
    "FrameSelection",
    "Latency",
    "ModelInfo",
    "RetryPolicy",
    "Sampling",
    "Segment",
    "Sighting",
    "Transport",
    "Verdict",
    "VideoVerdict",
    "trace_context",
]
