"""`AsyncDeepfakeClient`: the same for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from deepfake_triton.client.attempts import RetryPolicy, Turn
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.faults import server_error
from deepfake_triton.client.requests import ENSEMBLE, answer_of, infer_arguments, model_info
from deepfake_triton.client.rules import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    ClientRules,
    Video,
)
from deepfake_triton.client.verdict import FaceVerdict, Latency, ModelInfo, VideoVerdict
from deepfake_triton.errors import ServerError
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch

Answer = TypeVar("Answer")


class AsyncDeepfakeClient:
    """`DeepfakeClient` with methods to await, for use within one event loop. Videos are decoded in threads;
    a task that is cancelled takes its request back from the server."""

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        operating_point: str | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        connection: ConnectionOptions = ConnectionOptions(),  # noqa: B008 - frozen
        max_in_flight: int | None = None,
        evidence: EvidenceRule = EvidenceRule(),  # noqa: B008 - frozen
    ) -> None:
        """See DeepfakeClient; made inside the event loop."""
        self._rules = ClientRules(url, timeout_s, operating_point, retry, connection, evidence)
        self._places = asyncio.Semaphore(max_in_flight) if max_in_flight else contextlib.nullcontext()
        self._connections = {
            each: InferenceServerClient(each, **self._rules.connection_arguments) for each in self._rules.urls
        }

    async def detect(self, video: Video, selection: FrameSelection | None = None) -> VideoVerdict:
        """See DeepfakeClient.detect."""
        started = time.monotonic()
        clip = await asyncio.to_thread(self._rules.clip, video, selection)
        decoded = time.monotonic()
        faces, model = await self._answer(clip.frames, started + self._rules.timeout_s)
        latency = Latency.between(started, decoded, time.monotonic())
        return self._rules.verdict(video, selection, clip, faces, model, latency)

    async def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """See DeepfakeClient.faces."""
        return (await self._answer(frames, self._deadline(timeout_s)))[0]

    async def model(self, timeout_s: float | None = None) -> ModelInfo:
        """See DeepfakeClient.model."""
        return await self._answered(self._deadline(timeout_s), self._model_of)

    @property
    def known_model(self) -> ModelInfo | None:
        """The model that answered last, if one did."""
        return self._rules.models.last

    async def close(self) -> None:
        """End the connections."""
        for connection in self._connections.values():
            await connection.close()

    async def __aenter__(self) -> AsyncDeepfakeClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self._rules.timeout_s if timeout_s is None else timeout_s)

    async def _answer(self, frames: FrameBatch, deadline: float) -> tuple[tuple[FaceVerdict, ...], ModelInfo]:
        async def ask(turn: Turn) -> tuple[tuple[FaceVerdict, ...], ModelInfo]:
            ends = time.monotonic() + turn.timeout_s
            await self._model_of(turn)
            arguments = infer_arguments(frames, self._rules.left_s(ends), self._rules.headers)
            result = await self._call(turn.url, self._connections[turn.url].infer, arguments)
            faces, version = answer_of(result, frames)
            return faces, await self._model_of(Turn(turn.url, self._rules.left_s(ends)), answered_as=version)

        async with self._places:
            return await self._answered(deadline, ask)

    async def _answered(self, deadline: float, ask: Callable[[Turn], Awaitable[Answer]]) -> Answer:
        attempts = self._rules.attempts(deadline)
        while True:
            turn = attempts.next()
            try:
                answer = await ask(turn)
            except ServerError as error:
                await asyncio.sleep(attempts.failed(error))
            else:
                attempts.answered()
                return answer

    async def _model_of(self, turn: Turn, answered_as: str | None = None) -> ModelInfo:
        known = self._rules.models.fresh(turn.url, answered_as)
        if known:
            return known
        connection = self._connections[turn.url]
        arguments = {"model_name": ENSEMBLE.name, "as_json": True, "headers": self._rules.headers}
        arguments |= {"client_timeout": turn.timeout_s}
        metadata = await self._call(turn.url, connection.get_model_metadata, arguments)
        config = (await self._call(turn.url, connection.get_model_config, arguments))["config"]
        return self._rules.models.learned(turn.url, model_info(metadata, config, self._rules.operating_point))

    async def _call(self, url: str, method: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> Any:
        try:
            return await method(**arguments)
        except InferenceServerException as error:
            self._rules.models.forget(url)
            raise server_error(error, url, arguments["client_timeout"]) from error
