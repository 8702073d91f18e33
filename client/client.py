"""`DeepfakeClient`: servers asked over gRPC by threads that wait for the answer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

from tritonclient.grpc import InferenceServerClient
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
from deepfake_triton.errors import (
    DeadlineExceeded,
    ServerError,
    ServerUnreachable,
    SharedMemoryInUse,
    SharedMemoryLost,
)
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch
from deepfake_triton.shared_regions import is_orphan, leave_region

Answer = TypeVar("Answer")


class DeepfakeClient:
    """Connections to one server or several, `url` as host:port, or some of them with commas between or as a
    sequence: asked in turn, and for one another when one fails. Usable from many threads and as a context
    manager.

    `timeout_s` bounds one video, decoding and retries included. `operating_point` names the server's
    threshold for FAKE, such as `balanced` (also the default) or `conservative`. No more than `max_in_flight`
    requests are on their way at once (None: as many as there are callers). `evidence` is what a face has to
    show to be judged. `transport` says how frames reach the server, as JPEG files of `jpeg_quality`.
    """

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
        """Raises ServerUnreachable for what is no address, PermissionDenied for certificates that are not
        there."""
        self._rules = ClientRules(
            url, timeout_s, operating_point, retry, connection, evidence, transport, jpeg_quality
        )
        self._closed = False
        self._places = threading.BoundedSemaphore(max_in_flight) if max_in_flight else None
        self._connections = {
            each: InferenceServerClient(each, **self._rules.connection_arguments) for each in self._rules.urls
        }

    def detect(
        self,
        video: Video,
        selection: FrameSelection | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> VideoVerdict:
        """Decode the chosen frames of a video, ask a server, and give the verdict.

        Windows are decoded while the ones before are asked about. `on_stage` is called with "decode" and
        "infer" when that stage begins for a window. Raises InputError or ServerError.
        """
        enter = on_stage or (lambda _: None)
        judgement = self._rules.judgement(video, selection)
        asking: deque[Future[WindowAnswer]] = deque()
        with closing(judgement), self._few_threads() as pool:
            while True:
                enter("decode")
                window = judgement.next_window()
                if window is None:
                    break
                enter("infer")
                asking.append(pool.submit(copy_context().run, self._ask, window, judgement.deadline))
                if len(asking) == WINDOWS_IN_FLIGHT:
                    judgement.add(asking.popleft().result())
            for answer in asking:
                judgement.add(answer.result())
            return judgement.verdict()

    def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """The faces of a clip that is decoded already, each with its probability. Raises ServerError."""
        return self._answered(self._deadline(timeout_s), lambda turn: self._infer(turn, frames)[0])

    def model(self, timeout_s: float | None = None) -> ModelInfo:
        """The model that answers, checked against the contract.

        Read again after a fault, and when what is known is older than any restart of a server takes. Raises
        ServerError, of which ContractMismatch when a server serves something else.
        """
        return self._answered(self._deadline(timeout_s), self._model_of)

    @property
    def known_model(self) -> ModelInfo | None:
        """The model that answered last, if one did."""
        return self._rules.models.last

    def close(self) -> None:
        """Take the shared memory back, and end the connections. May be repeated."""
        if self._closed:
            return
        self._closed = True
        for url, pool in self._rules.transport.pools.items():
            for name in pool.forget():
                self._unregister(url, name)
        for connection in self._connections.values():
            connection.close()

    def __enter__(self) -> DeepfakeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self._rules.timeout_s if timeout_s is None else timeout_s)

    def _ask(self, window: FrameBatch, deadline: float) -> WindowAnswer:
        began = time.monotonic()

        def ask(turn: Turn) -> tuple[tuple[FaceVerdict, ...], ModelInfo]:
            model = self._model_of(turn)
            faces, version = self._infer(turn, window)
            return faces, model if model.version == version else self._read_model(turn)

        faces, model = self._answered(deadline, ask)
        return WindowAnswer(faces, model, time.monotonic() - began)

    @contextmanager
    def _few_threads(self) -> Iterator[ThreadPoolExecutor]:
        """For one video; after a fault nothing more is asked, and nothing waited for."""
        pool = ThreadPoolExecutor(WINDOWS_IN_FLIGHT, "deepfake-windows")
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _answered(self, deadline: float, ask: Callable[[Turn], Answer]) -> Answer:
        """What `ask` returns, of the first server that answers."""
        attempts = self._rules.attempts(deadline)
        with self._place(deadline):
            while True:
                turn = attempts.next()
                try:
                    answer = ask(turn)
                except ServerError as error:
                    time.sleep(attempts.failed(error))
                else:
                    attempts.answered()
                    return answer

    def _infer(self, turn: Turn, frames: FrameBatch) -> tuple[tuple[FaceVerdict, ...], str]:
        """The faces, and the version of the ensemble that found them."""
        pool = self._rules.transport.pools[turn.url]
        while True:
            region = self._region(turn, frames.data.nbytes)
            try:
                with self._rules.request(frames, turn, region) as arguments:
                    result = self._call(turn.url, self._connections[turn.url].infer, arguments)
                    return answer_of(result, frames)
            except SharedMemoryLost:
                if region is None:
                    raise
                pool.drop(region)
            finally:
                if region is not None:
                    pool.give_back(region)

    def _region(self, turn: Turn, size: int) -> Region | None:
        """Memory of `size` bytes that the server has opened; None: send the frames."""
        choice, pool = self._rules.transport, self._rules.transport.pools[turn.url]
        if not choice.shares_memory(turn.url):
            return None
        region = pool.take(size)
        if region is not None:
            return region
        too_small = pool.evict()
        if too_small is not None:
            self._unregister(turn.url, too_small)
        if not pool.has_room(size):
            return None
        try:
            region = Region(size)
        except OSError as error:
            choice.refused(turn.url, error)
            return None
        try:
            self._memory_call(
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
            self._sweep(turn)
        return region

    def _sweep(self, turn: Turn) -> None:
        """Unregister what clients that have gone left with the server."""
        with contextlib.suppress(ServerError):
            call = "get_system_shared_memory_status"
            known = self._memory_call(turn.url, call, turn.left_s(), as_json=True)
            for name in filter(is_orphan, known.get("regions", {})):
                self._unregister(turn.url, name)

    def _unregister(self, url: str, name: str) -> None:
        """Once no request uses it; what a request uses for longer is left to the next sweep."""
        with contextlib.suppress(ServerError):
            for pause_s in UNREGISTER_PAUSES_S:
                time.sleep(pause_s)
                try:
                    call = "unregister_system_shared_memory"
                    self._memory_call(url, call, UNREGISTER_TIMEOUT_S, name=name)
                except SharedMemoryInUse:
                    continue
                return
            leave_region(name)

    def _memory_call(self, url: str, method: str, timeout_s: float, **arguments: Any) -> Any:
        call = getattr(self._connections[url], method)
        return self._call(url, call, self._rules.memory_arguments(timeout_s, **arguments))

    def _model_of(self, turn: Turn) -> ModelInfo:
        return self._rules.models.fresh(turn.url) or self._read_model(turn)

    def _read_model(self, turn: Turn) -> ModelInfo:
        connection = self._connections[turn.url]
        arguments = {"model_name": ENSEMBLE.name, "as_json": True, "headers": self._rules.headers}
        arguments |= {"client_timeout": turn.left_s()}
        metadata = self._call(turn.url, connection.get_model_metadata, arguments)
        config = (self._call(turn.url, connection.get_model_config, arguments))["config"]
        return self._rules.models.learned(turn.url, model_info(metadata, config, self._rules.operating_point))

    def _call(self, url: str, method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if self._closed and "unregister" not in method.__name__:
            raise ServerUnreachable(f"{url}: this client was closed")
        try:
            return method(**arguments)
        except ValueError as error:  # gRPC's own, when it is closed meanwhile
            raise ServerUnreachable(f"{url}: {error}") from error
        except InferenceServerException as error:
            self._rules.models.forget(url)
            raise server_error(error, url, self._rules.limit_s) from error

    @contextmanager
    def _place(self, deadline: float) -> Iterator[None]:
        """One of `max_in_flight`, for as long as it is needed."""
        if self._places is None:
            yield
            return
        if not self._places.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded("max_in_flight: no request of this client came to an end in time")
        try:
            yield
        finally:
            self._places.release()
