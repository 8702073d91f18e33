"""What both clients share, the one that waits and the asynchronous one: all but the calls themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.client.attempts import Attempts, RetryBudget, RetryPolicy
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.servers import Servers, urls_from_text
from deepfake_triton.client.verdict import FaceVerdict, Latency, ModelInfo, VideoVerdict, verdict_from_faces
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import DecodedClip, FrameBatch, decode_clip

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 60.0
MODEL_INFO_AGE_S = 2.0
"""Shorter than any server takes to restart, so that a verdict never names a model that has gone."""

Video = str | Path | BinaryIO | FrameBatch
"""A path, an open file that can seek, or frames that are decoded already."""


class KnownModels:
    """What each server said of its model, for as long as that can be relied on."""

    def __init__(self) -> None:
        self.last: ModelInfo | None = None
        self._by_url: dict[str, tuple[ModelInfo, float]] = {}

    def fresh(self, url: str) -> ModelInfo | None:
        """None where the server has to be asked: it may have restarted since."""
        model, read = self._by_url.get(url, (None, 0.0))
        return None if time.monotonic() - read > MODEL_INFO_AGE_S else model

    def learned(self, url: str, model: ModelInfo) -> ModelInfo:
        """The server has just said so."""
        self._by_url[url] = model, time.monotonic()
        self.last = model
        return model

    def forget(self, url: str) -> None:
        """A call failed: the server that comes back may serve another model."""
        self._by_url.pop(url, None)
        self.last = None


class ClientRules:
    """Addresses, time, retries and connections of one client, as its arguments say."""

    def __init__(
        self,
        url: str | Sequence[str],
        timeout_s: float,
        operating_point: str | None,
        retry: RetryPolicy,
        connection: ConnectionOptions,
        evidence: EvidenceRule,
    ) -> None:
        """Raises ServerUnreachable for what is no address, PermissionDenied for certificates that are not
        there."""
        self.urls = urls_from_text(url if isinstance(url, str) else ",".join(url))
        self.timeout_s = timeout_s
        self.operating_point = operating_point
        self.headers = connection.headers()
        self.connection_arguments = connection.arguments()
        self.models = KnownModels()
        self._evidence = evidence
        self._retry = retry
        self._servers = Servers(self.urls, time.monotonic)
        self._budget = RetryBudget(retry)

    @property
    def limit_s(self) -> float:
        """How long one server is waited for."""
        return min(self.timeout_s, self._retry.attempt_timeout_s or self.timeout_s)

    def attempts(self, deadline: float) -> Attempts:
        """One request; the `deadline` is by time.monotonic()."""
        return Attempts(self._servers, self._retry, self._budget, deadline, self.timeout_s)

    def clip(self, video: Video, selection: FrameSelection | None) -> DecodedClip:
        """The frames to judge. Raises InputError, or DeadlineExceeded."""
        if isinstance(video, FrameBatch):
            return DecodedClip(video, video.end_seconds, None)
        return decode_clip(video, selection or FrameSelection(), timeout_s=self.timeout_s)

    def verdict(
        self,
        video: Video,
        clip: DecodedClip,
        faces: tuple[FaceVerdict, ...],
        model: ModelInfo,
        latency_ms: Latency,
    ) -> VideoVerdict:
        """What the faces of a video come to."""
        return verdict_from_faces(_name_of(video), clip, faces, model, latency_ms, self._evidence)


def _name_of(video: Video) -> str:
    """For the verdict."""
    if isinstance(video, FrameBatch):
        return "(frames)"
    return str(video if isinstance(video, str | Path) else getattr(video, "name", "(stream)"))
