"""deepfake.v1.Detector: one call is one job."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from deepfake_triton.client.wire.tracing import is_traceparent
from deepfake_triton.errors import DeepfakeError, GatewayBusy
from deepfake_triton.gateway.access.callers import Caller
from deepfake_triton.gateway.admission import admission
from deepfake_triton.gateway.grpc_service.conversion import message_from_event
from deepfake_triton.gateway.grpc_service.messages import SERVICE, DetectEvent, request_from_bytes
from deepfake_triton.gateway.grpc_service.options import options_from_message
from deepfake_triton.gateway.grpc_service.peer import address_of_peer
from deepfake_triton.gateway.grpc_service.reception import first_message, receive_file
from deepfake_triton.gateway.grpc_service.status import code_of, details_of, trailers_of
from deepfake_triton.gateway.jobs.events import Canceled, Decoded, Failed, Judged, Queued, WindowJudged
from deepfake_triton.gateway.jobs.job import Job, JobRequest
from deepfake_triton.gateway.problems import retry_after_of
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.unexpected import log_unexpected
from deepfake_triton.host.addresses import is_loopback

MAX_SILENT = 32
"""Calls of one address that have not sent their first message: a part of all calls at once."""

_OWN_FAULT = "an error of the gateway itself; its log tells more"


def detector_handlers(services: Services) -> grpc.GenericRpcHandler:
    """Return the handlers of the service."""
    detect = grpc.stream_stream_rpc_method_handler(
        DetectorServicer(services).detect,
        request_deserializer=request_from_bytes,
        response_serializer=DetectEvent.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Detect": detect})


class DetectorServicer:
    """Judge the file that a call sends, and tell what happens."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._silent: Counter[str] = Counter()

    async def detect(self, _requests: Any, context: Any) -> None:
        """Answer one call; the caller's cancellation, which ends this task, cancels the job."""
        try:
            caller = self._services.access.caller_by_key(key_in(context.invocation_metadata()))
            job = await self._receive_job(context, caller)
            with self._services.jobs.waiting(job):
                await _tell(context, job)
        except DeepfakeError as error:
            self._services.metrics.refused(type(error).__name__)
            trailers = trailers_of(error, retry_after_of(self._services, error))
            await context.abort(code_of(error), details_of(error), trailers)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - gRPC would send its text, which may name a file
            log_unexpected(error, "a call of gRPC")
            await context.abort(grpc.StatusCode.INTERNAL, _OWN_FAULT)

    @contextmanager
    def _counted(self, address: str | None) -> Iterator[None]:
        """Count a call that has sent nothing yet. Raises GatewayBusy if its address has many of them.

        Calls of this host, which may be a proxy's, are not counted.
        """
        if address is None or is_loopback(address):
            yield
            return
        if self._silent[address] >= MAX_SILENT:
            raise GatewayBusy(
                f"gateway: {MAX_SILENT} of your calls have sent nothing yet; send their options"
            )
        self._silent[address] += 1
        try:
            yield
        finally:
            self._silent[address] -= 1
            if not self._silent[address]:
                del self._silent[address]

    async def _receive_job(self, context: Any, caller: Caller) -> Job:
        """Read the whole upload, and submit it."""
        services = self._services
        address = address_of_peer(context.peer())
        with self._counted(address):
            message = await first_message(context)
        options = options_from_message(message, services.settings.limits.max_windows)
        if options.operating_point and (model := services.client.known_model) is not None:
            model.at(options.operating_point)  # an unknown one is refused before the file comes, if possible
        request = JobRequest(
            options.selection,
            options.operating_point,
            owner=caller.name,
            traceparent=_traceparent_in(context.invocation_metadata()),
        )
        with admission(services, caller, options.size_bytes, address=address):
            upload = await receive_file(context, options, services.spool)
            return services.jobs.submit(upload, request)


def _traceparent_in(metadata: Any) -> str | None:
    """Return the caller's trace; None without a well-formed one."""
    found = dict(metadata or ()).get("traceparent")
    return found if isinstance(found, str) and is_traceparent(found) else None


async def _tell(context: Any, job: Job) -> None:
    """Send the events of a job to its end. Raises the job's error."""
    async for stamped in job.follow():
        event = stamped.event
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Canceled) and job.error is not None:
            raise job.error
        if isinstance(event, Canceled):
            await context.abort(grpc.StatusCode.CANCELLED, "the job was canceled")
        else:
            await context.write(await _message_of(event))


async def _message_of(event: Queued | Decoded | WindowJudged | Judged) -> Any:
    """Return the message of an event. A verdict may be large: it is converted beside the event loop."""
    if isinstance(event, Judged):
        return await asyncio.to_thread(message_from_event, event)
    return message_from_event(event)


def key_in(metadata: Any) -> str | None:
    """Return the API key in the metadata of a call: `authorization: Bearer KEY`, or `x-api-key: KEY`."""
    found = {name: value for name, value in metadata or () if isinstance(value, str)}
    scheme, _, token = found.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else found.get("x-api-key")
