"""One upload on its way to a verdict: what was asked, what happened, and what came out."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO

from deepfake_triton.client.verdicts.verdict import VideoVerdict
from deepfake_triton.errors import DeepfakeError, GatewayBusy
from deepfake_triton.gateway.jobs.events import Event, StampedEvent
from deepfake_triton.gateway.jobs.progress import Progress
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.preprocessing.video.sampling import FrameSelection

MAX_EVENTS = 500
"""Events of a job in memory: a follower that is further behind misses the oldest ones."""
MAX_FOLLOWERS = 16
"""Followers of a job's events, and as many that wait for its end: each is an open connection."""


class JobState(str, Enum):
    """State of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


def require_share_of_job(num_requests: int) -> None:
    """Raise GatewayBusy for a further request that would wait for a job beside so many."""
    if num_requests >= MAX_FOLLOWERS:
        raise GatewayBusy(
            f"job: {num_requests} requests wait for it, {MAX_FOLLOWERS} at most; end one of them"
        )


@dataclass(frozen=True)
class JobRequest:
    """What a caller asks about an upload.

    Attributes:
        selection: Frames to judge.
        operating_point: Name of the thresholds; None: the server's default ones.
        wants_preview: Whether a small H.264 copy is made for the page's player.
        webhook_url: Address told by the caller for the end of the job.
        owner: Name of the API key; None without keys. Nobody else sees the job.
        idempotency_key: The caller's own name of the request; a repetition gets the same job.
        traceparent: The caller's trace (W3C), which the server's spans continue.
    """

    selection: FrameSelection = field(default_factory=FrameSelection)
    operating_point: str | None = None
    wants_preview: bool = False
    webhook_url: str | None = field(default=None, repr=False)
    owner: str | None = None
    idempotency_key: str | None = field(default=None, repr=False)
    traceparent: str | None = None


@dataclass(eq=False)
class Job:
    """A job, changed by the runner alone, in the event loop of the gateway.

    Attributes:
        upload: The file; its bytes are closed when the job ends, name, size and hash stay.
        verdict: The outcome of a job that is DONE.
        error: Why it FAILED, or was CANCELED by a gateway that shuts down.
        preview: Small H.264 copy (MP4), if one was asked for and could be made.
        preview_bytes: Its size.
        preview_is_coming: Whether it is still being made; the verdict does not wait for it.
        started_at: Time at which it left the queue, by time.time().
        ended_at: Time of its end.
        ended_monotonic: The same by time.monotonic(), by which it is forgotten.
        is_forgotten: Whether it is no longer kept; its preview is closed.
        is_detached: Whether it goes on when nobody waits for it: its caller was told to come back.
        num_waiting: Requests that wait for its end.
        num_following: Requests that follow its events.
        events: The latest events.
        num_events: Number of all events so far.
        progress: How far it is.
    """

    upload: Upload
    request: JobRequest
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    created_at: float = field(default_factory=time.time)
    state: JobState = JobState.QUEUED
    verdict: VideoVerdict | None = None
    error: DeepfakeError | None = None
    preview: BinaryIO | None = None
    preview_bytes: int = 0
    preview_is_coming: bool = False
    is_forgotten: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    ended_monotonic: float | None = None
    is_detached: bool = False
    num_waiting: int = 0
    num_following: int = 0
    events: deque[StampedEvent] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    num_events: int = 0
    progress: Progress = field(default_factory=Progress)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add_event(self, event: Event) -> None:
        """Append an event, and wake those who follow."""
        self.num_events += 1
        self.events.append(StampedEvent(self.num_events, event))
        self.progress = self.progress.after(event)
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def queued_seconds(self) -> float:
        """Time in the queue, so far where it has not left it."""
        return (time.time() if self.started_at is None else self.started_at) - self.created_at

    def start(self) -> None:
        """Leave the queue."""
        self.state, self.started_at = JobState.RUNNING, time.time()
        self.progress = self.progress.outside_queue()

    def end(self, state: JobState, last: Event) -> None:
        """Set a final state, and add its last event."""
        assert state.is_final and not self.state.is_final, f"{self.state.name} to {state.name}"
        self.state, self.ended_at, self.ended_monotonic = state, time.time(), time.monotonic()
        self.add_event(last)

    def add_preview(self, preview: BinaryIO | None) -> None:
        """Keep the preview as long as the job; None: none could be made."""
        self.preview_is_coming = False
        if preview and self.is_forgotten:
            preview.close()
        elif preview:
            self.preview, self.preview_bytes = preview, preview.seek(0, os.SEEK_END)
            preview.seek(0)

    def drop_preview(self) -> None:
        """Close the preview, if there is one."""
        if self.preview:
            self.preview.close()
        self.preview, self.preview_bytes = None, 0

    def forget(self) -> None:
        """Close the preview, now or when it comes."""
        self.is_forgotten = True
        self.drop_preview()

    async def follow(self, last_id: int = 0) -> AsyncIterator[StampedEvent]:
        """Yield the events after number `last_id`, as they come, up to the last one."""
        while True:
            changed = self.changed
            while last_id < self.num_events:  # which may grow while the follower is busy
                stamped = self.events[max(0, last_id - self.events[0].id + 1)]
                last_id = stamped.id
                yield stamped
            if self.state.is_final:
                return
            await changed.wait()

    async def ended(self) -> None:
        """Wait for the end of the job."""
        async for _ in self.follow(self.num_events):
            pass
