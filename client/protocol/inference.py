"""One attempt to have a clip judged: a slot, a region of shared memory, the call, the answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.protocol.in_flight import RequestSlots
from deepfake_triton.client.protocol.lease import Lease
from deepfake_triton.client.protocol.options import ClientOptions
from deepfake_triton.client.protocol.region_registry import RegionRegistry
from deepfake_triton.client.protocol.retry import Attempt
from deepfake_triton.client.protocol.served_models import ServedModels
from deepfake_triton.client.protocol.steps import Call, Flow, WaitForSlot
from deepfake_triton.client.wire.request_log import log_request
from deepfake_triton.client.wire.requests import ClipAnswer, answer_from_reply, infer_request
from deepfake_triton.client.wire.shared_memory import Region
from deepfake_triton.client.wire.tracing import span, trace_headers
from deepfake_triton.client.wire.transport import Transport, TransportSelector
from deepfake_triton.errors import DeadlineExceeded, DeepfakeError, SharedMemoryLost
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

GIVE_UP_S = 60.0
"""A call that nobody waits for any more, to a server that must not be asked to cancel it, ends after so
long."""


class Inference:
    """Flows that send clips to the ensemble of one endpoint."""

    def __init__(
        self,
        options: ClientOptions,
        *,
        slots: RequestSlots,
        regions: RegionRegistry,
        transport: TransportSelector,
        models: ServedModels,
    ) -> None:
        self._options, self._models = options, models
        self._slots, self._regions, self._transport = slots, regions, transport

    def infer(self, attempt: Attempt, frames: FrameBatch) -> Flow[ClipAnswer]:
        """Return the server's answer on a clip. Raises ServerError."""
        pool = self._transport.pools[attempt.url]
        while True:
            yield from self._acquire_slot(attempt)
            lease = Lease(attempt.url, self._slots, pool)
            try:
                region = lease.region = yield from self._regions.check_out(attempt, frames.data.nbytes)
                with self._logged_request(frames, attempt, region) as (request, headers):
                    reply = yield self._call(attempt, request, headers=headers, lease=lease)
                    if reply is None:
                        raise attempt.expired()
                    return answer_from_reply(reply, len(frames))
            except SharedMemoryLost:
                if region is None:
                    raise
                pool.discard(region)
            finally:
                lease.release_unless_transferred()

    def _call(
        self,
        attempt: Attempt,
        request: pb.ModelInferRequest,
        *,
        headers: Mapping[str, str],
        lease: Lease,
    ) -> Call:
        is_cancellable = self._models.can_cancel(attempt.url)
        return Call(
            attempt.url,
            request,
            attempt.remaining_s(),
            headers,
            linger_s=0.0 if is_cancellable else GIVE_UP_S,
            lease=lease,
            cancellable=is_cancellable,
        )

    def _acquire_slot(self, attempt: Attempt) -> Flow[None]:
        slot = self._slots.acquire(attempt.url)
        if slot.done():
            return
        is_granted = False
        try:
            is_granted = bool((yield WaitForSlot(slot, attempt.remaining_s())))
        finally:
            if not is_granted:
                self._slots.abandon(attempt.url, slot)
        if not is_granted:
            raise DeadlineExceeded(
                f"{attempt.url}: max_in_flight: no request of this client came to an end in time"
            )

    @contextmanager
    def _logged_request(
        self, frames: FrameBatch, attempt: Attempt, region: Region | None
    ) -> Iterator[tuple[pb.ModelInferRequest, dict[str, str]]]:
        """Build a request, its frames in the `region` if there is one, and its metadata; trace and log what
        becomes of it inside. Raises DeadlineExceeded."""
        transport = self._transport.transport_for(region)
        quality = self._options.jpeg_quality if transport is Transport.JPEG else None
        with span("transport", kind=transport.value, bytes=frames.data.nbytes):
            request = infer_request(frames, attempt.remaining_s(), region=region, jpeg_quality=quality)
        began, failure = time.monotonic(), None
        try:
            with span("infer", request_id=request.id, url=attempt.url, frames=len(frames)):
                yield request, {**self._options.connection.headers(), **trace_headers()}
        except DeepfakeError as error:
            failure = type(error).__name__
            raise
        except GeneratorExit:
            failure = "Cancelled"
            raise
        finally:
            log_request(
                request_id=request.id,
                url=attempt.url,
                model=request.model_name,
                frames=len(frames),
                transport=transport.value,
                seconds=time.monotonic() - began,
                error=failure,
            )
