"""Server-sent events of a job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from deepfake_triton.gateway.jobs.events import Canceled, Failed, Judged, StampedEvent
from deepfake_triton.gateway.jobs.job import Job, require_share_of_job
from deepfake_triton.gateway.problems import problem_of

COMMENT_S = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection open."""


def event_stream(job: Job, last_event_id: str | None) -> StreamingResponse:
    """Return the answer with a job's events after the one that a follower has seen last.

    Raises GatewayBusy for a follower too many.
    """
    require_share_of_job(job.num_following)
    return _EventStream(job, _number(last_event_id, job.num_events))


class _EventStream(StreamingResponse):
    """A stream that counts as a follower of its job for as long as it is sent."""

    def __init__(self, job: Job, last_id: int) -> None:
        headers = {"X-Accel-Buffering": "no"}  # nginx would collect the events
        super().__init__(_lines(job, last_id), headers=headers, media_type="text/event-stream")
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        self._job.num_following += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.num_following -= 1


def _number(last_event_id: str | None, num_events: int) -> int:
    text = last_event_id or ""
    return min(int(text), num_events) if text.isascii() and text.isdigit() and len(text) < 10 else 0


async def _lines(job: Job, last_id: int) -> AsyncIterator[str]:
    events = job.follow(last_id)
    following: asyncio.Future[StampedEvent] | None = None
    try:
        while True:
            # Not wait_for: it would cancel the generator, which would end it.
            following = following or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait((following,), timeout=COMMENT_S)
            if not done:
                yield ": still here\n\n"
                continue
            try:
                stamped = following.result()
            except StopAsyncIteration:
                return
            following = None
            if isinstance(stamped.event, Judged):  # large
                yield await asyncio.to_thread(_message, stamped)
            else:
                yield _message(stamped)
    finally:
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await following


def _message(stamped: StampedEvent) -> str:
    """Return one event; with the problem object beside the documented keys, where there is one."""
    event = stamped.event
    data = event.as_dict()
    if isinstance(event, Failed | Canceled) and event.error is not None:
        data = {**data, "problem": problem_of(event.error)}
    return f"id: {stamped.id}\nevent: {event.name}\ndata: {json.dumps(data)}\n\n"
