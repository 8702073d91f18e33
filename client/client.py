"""`DeepfakeClient`: one server, asked over gRPC."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from deepfake_triton.client.faults import server_error
from deepfake_triton.client.requests import (
    ENSEMBLE,
    answer_arrays,
    infer_inputs,
    model_info,
    requested_outputs,
)
from deepfake_triton.client.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    VideoVerdict,
    faces_from_answer,
    verdict_from_faces,
)
from deepfake_triton.errors import DeadlineExceeded, ServerError
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch, decode_clip

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 60.0
MODEL_INFO_AGE_S = 2.0
"""Shorter than any server takes to restart, so that a verdict never names a model that has gone."""


class DeepfakeClient:
    """A connection to one server, `url` as host:port; usable from many threads and as a context manager.

    `timeout_s` bounds one video, decoding included. `operating_point` names the server's threshold for FAKE,
    such as `balanced` (also the default) or `conservative`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        operating_point: str | None = None,
    ) -> None:
        self.url = url
        self.operating_point = operating_point
        self.timeout_s = timeout_s
        self._connection = InferenceServerClient(url)
        self._lock = threading.Lock()
        self._model: ModelInfo | None = None
        self._model_read = 0.0

    def detect(
        self,
        video: str | Path,
        selection: FrameSelection | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> VideoVerdict:
        """Decode the chosen frames of a video file, ask the server, and give the verdict.

        `on_stage` is called with "decode" and "infer" when that stage begins. Raises InputError or
        ServerError.
        """
        started = time.monotonic()
        enter = on_stage or (lambda _: None)
        enter("decode")
        clip = decode_clip(video, selection or FrameSelection(), timeout_s=self.timeout_s)
        decoded = time.monotonic()
        enter("infer")
        self.model(self._left(started))
        faces, version = self._ask(clip.frames, self._left(started))
        model = self.model(self._left(started), answered_as=version)
        ended = time.monotonic()
        latency = Latency(
            decode=1000 * (decoded - started), infer=1000 * (ended - decoded), total=1000 * (ended - started)
        )
        return verdict_from_faces(str(video), clip, faces, model, latency)

    def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """The faces of a clip that is decoded already, each with its probability. Raises ServerError."""
        return self._ask(frames, timeout_s)[0]

    def _ask(self, frames: FrameBatch, timeout_s: float | None) -> tuple[tuple[FaceVerdict, ...], str]:
        """The faces, and the version of the ensemble that answered."""
        result = self._call(
            self._connection.infer,
            timeout_s,
            model_name=ENSEMBLE.name,
            inputs=infer_inputs(frames),
            outputs=requested_outputs(),
        )
        faces = faces_from_answer(frames, *answer_arrays(result, len(frames)))
        return faces, str(result.get_response().model_version)

    def model(self, timeout_s: float | None = None, answered_as: str | None = None) -> ModelInfo:
        """The model that answers, checked against the contract.

        Read again after a fault, when an answer came from another version than `answered_as`'s, and when what
        is known is older than any restart of a server takes. Raises ServerError, of which ContractMismatch
        when the server serves something else.
        """
        with self._lock:
            now = time.monotonic()
            stale = self._model is None or now - self._model_read > MODEL_INFO_AGE_S
            if stale or answered_as not in (None, self._model.version if self._model else None):
                arguments = {"model_name": ENSEMBLE.name, "as_json": True}
                metadata = self._call(self._connection.get_model_metadata, timeout_s, **arguments)
                config = self._call(self._connection.get_model_config, timeout_s, **arguments)
                self._model = model_info(metadata, config["config"], self.operating_point)
                self._model_read = now
            assert self._model is not None
            return self._model

    @property
    def known_model(self) -> ModelInfo | None:
        """The model that answered last, if one did."""
        return self._model

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> DeepfakeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _left(self, started: float) -> float:
        left = self.timeout_s - (time.monotonic() - started)
        if left <= 0:
            raise DeadlineExceeded(
                f"{self.url}: decoding took longer than the {self.timeout_s:g} s for a video"
            )
        return left

    def _call(self, method: Callable[..., Any], timeout_s: float | None, **arguments: Any) -> Any:
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            return method(**arguments, client_timeout=limit_s)
        except InferenceServerException as error:
            self._model = None  # the server that comes back may serve another model
            raised: ServerError = server_error(error, self.url, self.timeout_s)
            raise raised from error
