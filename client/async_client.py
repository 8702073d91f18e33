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
from deepfake_triton.client.requests import ENSEMBLE, answer_of, model_info
from deepfake_triton.client.rules import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    WINDOWS_IN_FLIGHT,
    ClientRules,
    Video,
    WindowAnswer,
)
from deepfake_triton.client.shared_memory import UNREGISTER_PAUSES_S, UNREGISTER_TIMEOUT_S, Region
from deepfake_triton.client.transport import NO_ANSWER, Transport
from deepfake_triton.client.verdict import FaceVerdict, ModelInfo, VideoVerdict
from deepfake_triton.contracts import JPEG_QUALITY
from deepfake_triton.errors import ServerError, SharedMemoryInUse, SharedMemoryLost
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch
from deepfake_triton.shared_regions import is_orphan, leave_region

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
        transport: Transport = Transport.AUTO,
        jpeg_quality: int = JPEG_QUALITY,
    ) -> None:
        """See DeepfakeClient; made inside the event loop."""
        self._rules = ClientRules(
            url, timeout_s, operating_point, retry, connection, evidence, transport, jpeg_quality
        )
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
        """Take the shared memory back, and end the connections."""
        for url, pool in self._rules.transport.pools.items():
            for name in pool.forget():
                await self._unregister(url, name)
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
        pool = self._rules.transport.pools[turn.url]
        while True:
            region = await self._region(turn, frames.data.nbytes)
            try:
                with self._rules.request(frames, turn, region) as arguments:
                    result = await self._call(turn.url, self._connections[turn.url].infer, arguments)
                    return answer_of(result, frames)
            except SharedMemoryLost:
                if region is None:
                    raise
                pool.drop(region)
            finally:
                if region is not None:
                    pool.give_back(region)

    async def _region(self, turn: Turn, size: int) -> Region | None:
        """Memory of `size` bytes that the server has opened; None: send the frames."""
        choice, pool = self._rules.transport, self._rules.transport.pools[turn.url]
        if not choice.shares_memory(turn.url):
            return None
        region = pool.take(size)
        if region is not None:
            return region
        too_small = pool.evict()
        if too_small is not None:
            await self._unregister(turn.url, too_small)
        if not pool.has_room(size):
            return None
        try:
            region = Region(size)
        except OSError as error:
            choice.refused(turn.url, error)
            return None
        try:
            await self._memory_call(
                turn.url,
                "register_system_shared_memory",
                turn.left_s(),
                **{"name": region.name, "key": region.key, "byte_size": region.size},
            )
        except NO_ANSWER:
            raise
        except ServerError as error:
            choice.refused(turn.url, error)
            return None
        finally:
            region.unlink()
        pool.add(region)
        if choice.is_first(turn.url):
            await self._sweep(turn)
        return region

    async def _sweep(self, turn: Turn) -> None:
        """Unregister what clients that have gone left with the server."""
        with contextlib.suppress(ServerError):
            call = "get_system_shared_memory_status"
            known = await self._memory_call(turn.url, call, turn.left_s(), as_json=True)
            for name in filter(is_orphan, known.get("regions", {})):
                await self._unregister(turn.url, name)

    async def _unregister(self, url: str, name: str) -> None:
        """Once no request uses it; what a request uses for longer is left to the next sweep."""
        with contextlib.suppress(ServerError):
            for pause_s in UNREGISTER_PAUSES_S:
                await asyncio.sleep(pause_s)
                try:
                    call = "unregister_system_shared_memory"
                    await self._memory_call(url, call, UNREGISTER_TIMEOUT_S, name=name)
                except SharedMemoryInUse:
                    continue
                return
            leave_region(name)

    async def _memory_call(self, url: str, method: str, timeout_s: float, **arguments: Any) -> Any:
        call = getattr(self._connections[url], method)
        return await self._call(url, call, self._rules.memory_arguments(timeout_s, **arguments))

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
