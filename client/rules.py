"""What both clients share, the one that waits and the asynchronous one: all but the calls themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.attempts import Attempts, RetryBudget, RetryPolicy, Turn
from deepfake_triton.client.connection_options import ConnectionOptions, require_seconds
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.persons import Persons
from deepfake_triton.client.request_log import log_request, log_warning
from deepfake_triton.client.requests import infer_request
from deepfake_triton.client.servers import Servers, urls_from_text
from deepfake_triton.client.shared_memory import Region
from deepfake_triton.client.tracing import span, trace_headers
from deepfake_triton.client.transport import Transport, TransportChoice
from deepfake_triton.client.verdict import FaceVerdict, Latency, ModelInfo, VideoVerdict, verdict_from_faces
from deepfake_triton.errors import DeepfakeError, InvalidOption
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch
from deepfake_triton.preprocessing.windows import VideoWindows

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 60.0
WINDOWS_IN_FLIGHT = 2
"""Of one video: while these are asked about, the next one is decoded, and no more are in memory."""
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
        *,
        timeout_s: float,
        operating_point: str | None,
        retry: RetryPolicy,
        connection: ConnectionOptions,
        max_in_flight: int | None,
        evidence: EvidenceRule,
        transport: Transport,
        jpeg_quality: int,
    ) -> None:
        """Raises ServerUnreachable for what is no address, InvalidOption for a time or a number that makes no
        sense, PermissionDenied for certificates that are not there."""
        self.urls = urls_from_text(url if isinstance(url, str) else ",".join(url))
        self.timeout_s = require_seconds("timeout_s", timeout_s)
        if max_in_flight is not None and max_in_flight < 1:
            raise InvalidOption(f"max_in_flight: got {max_in_flight}, expected 1 or more, or None")
        self.max_in_flight = max_in_flight
        self.operating_point = operating_point
        self.connection = connection
        self.headers = connection.headers()
        self.transport = TransportChoice(transport, self.urls)
        self.models = KnownModels()
        self._jpeg_quality = jpeg_quality
        self._evidence = evidence
        self._retry = retry
        self._servers = Servers(self.urls, time.monotonic)
        self._budget = RetryBudget(retry)
        for readable in connection.sends_token_in_clear(self.urls):
            log_warning(f"{readable}: the token goes there unencrypted, for anyone on the way to read")

    @property
    def ever_answered(self) -> bool:
        """Whether any of the servers has been reached."""
        return self._servers.ever_answered

    def deadline(self, timeout_s: float | None) -> float:
        """By time.monotonic(), for a request that begins now. Raises InvalidOption."""
        limit_s = self.timeout_s if timeout_s is None else require_seconds("timeout_s", timeout_s)
        return time.monotonic() + limit_s

    def attempts(self, deadline: float, is_full: Callable[[str], bool]) -> Attempts:
        """One request; the `deadline` is by time.monotonic()."""
        left_s = max(0.0, deadline - time.monotonic())
        limit_s = min(self.timeout_s, float(f"{left_s:.2g}"))  # for messages
        return Attempts(
            self._servers,
            self._retry,
            self._budget,
            deadline=deadline,
            timeout_s=limit_s,
            is_full=is_full,
        )

    @contextmanager
    def request(
        self, frames: FrameBatch, turn: Turn, region: Region | None
    ) -> Iterator[tuple[pb.ModelInferRequest, dict[str, str]]]:
        """One request, whose frames go into the `region` if there is one, and its metadata; it is made
        inside, and logged. Raises DeadlineExceeded."""
        transport = self.transport.name_for(region)
        quality = self._jpeg_quality if transport is Transport.JPEG else None
        with span("transport", kind=transport.value, bytes=frames.data.nbytes):
            request = infer_request(frames, turn.left_s(), region=region, jpeg_quality=quality)
        began, failure = time.monotonic(), None
        try:
            with span("infer", request_id=request.id, url=turn.url, frames=len(frames)):
                yield request, {**self.headers, **trace_headers()}
        except DeepfakeError as error:
            failure = type(error).__name__
            raise
        except GeneratorExit:
            failure = "Cancelled"
            raise
        finally:
            log_request(
                request_id=request.id,
                url=turn.url,
                model=request.model_name,
                frames=len(frames),
                transport=transport.value,
                seconds=time.monotonic() - began,
                error=failure,
            )

    def judgement(self, video: Video, selection: FrameSelection | None) -> Judgement:
        """Of one video, from now on."""
        return Judgement(video, selection or FrameSelection(), self.timeout_s, self._evidence)


@dataclass(frozen=True)
class WindowAnswer:
    """What the server said of one window, and how long that took."""

    faces: tuple[FaceVerdict, ...]
    model: ModelInfo
    infer_s: float


class Judgement:
    """One video, from its first window to its verdict; `deadline` is by time.monotonic().

    Windows are taken with `next_window` and their answers given back, in the same order, with `add`.
    """

    def __init__(
        self, video: Video, selection: FrameSelection, timeout_s: float, evidence: EvidenceRule
    ) -> None:
        self._started = time.monotonic()
        self.deadline = self._started + timeout_s
        self._name = _name_of(video)
        self._evidence = evidence
        self._source: _OneBatch | VideoWindows = (
            _OneBatch(video)
            if isinstance(video, FrameBatch)
            else VideoWindows(video, selection, timeout_s=timeout_s)
        )
        self._windows = iter(self._source)
        self._reading = threading.Lock()
        self._persons = Persons()
        self._model: ModelInfo | None = None
        self._frames_decoded = 0
        self._decode_s = self._infer_s = 0.0

    def next_window(self) -> FrameBatch | None:
        """Decode it; None behind the last one. Raises InputError, or DeadlineExceeded."""
        began = time.monotonic()
        with self._reading, span("decode", video=self._name):
            window = next(self._windows, None)
        self._decode_s += time.monotonic() - began
        self._frames_decoded += len(window) if window else 0
        return window

    def add(self, answer: WindowAnswer) -> None:
        """The answer on the next window that has none."""
        self._persons.add(answer.faces)
        self._model = answer.model
        self._infer_s += answer.infer_s

    def verdict(self) -> VideoVerdict:
        """After the last answer."""
        assert self._model is not None, "no video is without a window"
        total_s = time.monotonic() - self._started
        return verdict_from_faces(
            self._name,
            self._persons.verdicts(),
            self._model,
            self._evidence,
            frames_decoded=self._frames_decoded,
            duration_seconds=self._source.duration_seconds,
            latency_ms=Latency(1000 * self._decode_s, 1000 * self._infer_s, 1000 * total_s),
            fault=self._source.fault,
        )

    def close(self) -> None:
        """Close the file, once nobody reads it."""
        with self._reading:
            if isinstance(self._windows, Generator):
                self._windows.close()


class _OneBatch:
    """Frames that are decoded already, as a video of one window."""

    fault: str | None = None

    def __init__(self, frames: FrameBatch) -> None:
        self.frames = frames
        self.duration_seconds = frames.end_seconds

    def __iter__(self) -> Iterator[FrameBatch]:
        return iter((self.frames,))


def _name_of(video: Video) -> str:
    """For the verdict."""
    if isinstance(video, FrameBatch):
        return "(frames)"
    return str(video if isinstance(video, str | Path) else getattr(video, "name", "(stream)"))
