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


class DeepfakeClient:
    """A connection to one server, `url` as host:port; usable from many threads and as a context manager.

    `timeout_s` bounds one video, decoding included.
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._connection = InferenceServerClient(url)
        self._lock = threading.Lock()
        self._model: ModelInfo | None = None

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
        clip = decode_clip(video, selection or FrameSelection())
        decoded = time.monotonic()
        enter("infer")
        model = self.model(self._left(started))
        faces = self.faces(clip.frames, self._left(started))
        ended = time.monotonic()
        latency = Latency(
            decode=1000 * (decoded - started), infer=1000 * (ended - decoded), total=1000 * (ended - started)
        )
        return verdict_from_faces(str(video), clip, faces, model, latency)

    def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """The faces of a clip that is decoded already, each with its probability. Raises ServerError."""
        result = self._call(
            self._connection.infer,
            timeout_s,
            model_name=ENSEMBLE.name,
            inputs=infer_inputs(frames),
            outputs=requested_outputs(),
        )
        return faces_from_answer(frames, *answer_arrays(result, len(frames)))

    def model(self, timeout_s: float | None = None) -> ModelInfo:
        """The model that answers, checked against the contract; asked once, and again after a fault.

        Raises ServerError, of which ContractMismatch when the server serves something else.
        """
        with self._lock:
            if self._model is None:
                arguments = {"model_name": ENSEMBLE.name, "as_json": True}
                metadata = self._call(self._connection.get_model_metadata, timeout_s, **arguments)
                config = self._call(self._connection.get_model_config, timeout_s, **arguments)
                self._model = model_info(metadata, config["config"])
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
