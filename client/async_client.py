"""`AsyncDeepfakeClient`: the same for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
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
    WINDOWS_IN_FLIGHT,
    ClientRules,
    Video,
    WindowAnswer,
)
from deepfake_triton.client.verdict import FaceVerdict, ModelInfo, VideoVerdict
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
        judgement = self._rules.judgement(video, selection)
        asking: deque[asyncio.Task[WindowAnswer]] = deque()
        try:
            while (window := await asyncio.to_thread(judgement.next_window)) is not None:
                asking.append(asyncio.create_task(self._ask(window, judgement.deadline)))
                if len(asking) == WINDOWS_IN_FLIGHT:
                    judgement.add(await asking.popleft())
            while asking:
                judgement.add(await asking.popleft())
            return judgement.verdict()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await asyncio.to_thread(judgement.close)

    async def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """See DeepfakeClient.faces."""

        async def ask(turn: Turn) -> tuple[FaceVerdict, ...]:
            return (await self._infer(turn, frames))[0]

        return await self._answered(self._deadline(timeout_s), ask)

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

    async def _ask(self, window: FrameBatch, deadline: float) -> WindowAnswer:
        began = time.monotonic()

        async def ask(turn: Turn) -> tuple[tuple[FaceVerdict, ...], ModelInfo]:
            model = await self._model_of(turn)
            faces, version = await self._infer(turn, window)
            return faces, model if model.version == version else await self._read_model(turn)

        faces, model = await self._answered(deadline, ask)
        return WindowAnswer(faces, model, time.monotonic() - began)

    async def _answered(self, deadline: float, ask: Callable[[Turn], Awaitable[Answer]]) -> Answer:
        attempts = self._rules.attempts(deadline)
        async with self._places:
            while True:
                turn = attempts.next()
                try:
                    answer = await ask(turn)
                except ServerError as error:
                    await asyncio.sleep(attempts.failed(error))
                else:
                    attempts.answered()
                    return answer

    async def _infer(self, turn: Turn, frames: FrameBatch) -> tuple[tuple[FaceVerdict, ...], str]:
        """The faces, and the version of the ensemble that found them."""
        arguments = infer_arguments(frames, turn.left_s(), self._rules.headers)
        return answer_of(await self._call(turn.url, self._connections[turn.url].infer, arguments), frames)

    async def _model_of(self, turn: Turn) -> ModelInfo:
        return self._rules.models.fresh(turn.url) or await self._read_model(turn)

    async def _read_model(self, turn: Turn) -> ModelInfo:
        connection = self._connections[turn.url]
        arguments = {"model_name": ENSEMBLE.name, "as_json": True, "headers": self._rules.headers}
        arguments |= {"client_timeout": turn.left_s()}
        metadata = await self._call(turn.url, connection.get_model_metadata, arguments)
        config = (await self._call(turn.url, connection.get_model_config, arguments))["config"]
        return self._rules.models.learned(turn.url, model_info(metadata, config, self._rules.operating_point))

    async def _call(self, url: str, method: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> Any:
        try:
            return await method(**arguments)
        except InferenceServerException as error:
            self._rules.models.forget(url)
            raise server_error(error, url, self._rules.limit_s) from error
