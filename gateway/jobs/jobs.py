"""`Jobs`: takes uploads in, queues them, judges some at once, and keeps the outcomes for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from deepfake_triton.errors import GatewayBusy, ServerOverloaded
from deepfake_triton.gateway.jobs.events import Canceled, Queued
from deepfake_triton.gateway.jobs.fair_queue import FairQueue
from deepfake_triton.gateway.jobs.job import Job, JobRequest, JobState, require_share_of_job
from deepfake_triton.gateway.jobs.pace import Pace
from deepfake_triton.gateway.jobs.parts import Announcer, Decoders, Judge
from deepfake_triton.gateway.jobs.run import Run
from deepfake_triton.gateway.jobs.table import JobTable
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.unexpected import log_unexpected
from deepfake_triton.gateway.uploads.spool import Upload

_SWEEP_S = 5.0
_DRAIN_CALLS_S = 60.0
_MAX_PREVIEW_BYTES = 2**30


class Jobs:
    """The jobs of one gateway; all of its methods belong to one event loop.

    Args:
        judge: Judges windows, such as AsyncDeepfakeClient.
        decoders: Decode videos, such as DecoderPool.
        limits: How many run, wait and are kept, and for how long.
        metrics: Counts them.
        webhooks: Announces ended jobs; None: nobody is told.
    """

    def __init__(
        self,
        judge: Judge,
        decoders: Decoders,
        limits: Limits,
        *,
        metrics: GatewayMetrics,
        webhooks: Announcer | None = None,
    ) -> None:
        self._judge, self._decoders, self._limits = judge, decoders, limits
        self._metrics, self._webhooks = metrics, webhooks
        self._table = JobTable(limits.max_kept)
        self._queue = FairQueue()
        self._runs: dict[str, Run] = {}
        self._slots: set[Run] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pace = Pace()
        self._sweeper: asyncio.Task[None] | None = None
        self._is_closing = False

    async def start(self) -> None:
        """Start to forget ended jobs after their retention."""
        self._sweeper = asyncio.create_task(self._sweep())

    @property
    def seconds_per_window(self) -> float | None:
        """Mean seconds for each window of the latest judged jobs; None before the first one."""
        return self._pace.seconds_per_window

    @property
    def num_running(self) -> int:
        """Number of slots in use."""
        return len(self._slots)

    def require_room(
        self, owner: str | None = None, idempotency_key: str | None = None, *, num_uploading: int = 0
    ) -> None:
        """Raise GatewayBusy if no further job is taken.

        `num_uploading` other uploads under way will want a place too. A request that repeats an earlier one
        wants none in the queue, only among the uploads.
        """
        if self._is_closing:
            raise _shutting_down()
        is_repeated = self._table.named(owner, idempotency_key) is not None
        taken = num_uploading + (0 if is_repeated else len(self._slots) + len(self._queue))
        if taken >= self._limits.max_running + self._limits.max_queued:
            raise GatewayBusy(
                f"gateway: {len(self._queue)} jobs wait, {self._limits.max_queued} at most, and "
                f"{num_uploading} uploads are under way; try again in about {self.retry_after_s()} s"
            )

    def submit(self, upload: Upload, request: JobRequest) -> Job:
        """Take an upload in, which is closed when its job ends, and return its job.

        A request that repeats an earlier one by its Idempotency-Key gets that one's job. Raises GatewayBusy
        or IdempotencyConflict, and closes the upload.
        """
        try:
            self.require_room(request.owner, request.idempotency_key)
            if (earlier := self._table.repeated(request, upload.sha256)) is not None:
                upload.close()
                return earlier
            job = Job(upload, request)
            self._table.add(job)
        except BaseException:
            upload.close()
            raise
        self._metrics.uploaded(upload.size_bytes)
        self._queue.append(job)
        self._tell_positions()
        self._start_next()
        return job

    def find(self, job_id: str, owner: str | None) -> Job:
        """Return an owner's job. Raises JobNotFound, for another owner's too."""
        return self._table.find(job_id, owner)

    def num_active(self, owner: str | None) -> int:
        """Return how many of an owner's jobs wait or hold a slot; a canceled one may still hold it."""
        active = [*self._queue.in_order(), *(run.job for run in self._slots)]
        return sum(job.request.owner == owner for job in active)

    def retry_after_s(self) -> int:
        """Return the seconds after which a refused caller may try again."""
        return self._pace.retry_after_s(len(self._queue), self._limits.max_running)

    def cancel(self, job: Job) -> None:
        """Cancel a job: one that waits ends; one that runs decodes and asks nothing further.

        Its slot is free when its calls in flight have ended. An ended job stays as it is, but for a preview
        that is still being made.
        """
        run = self._runs.get(job.id)
        if job.state.is_final:
            if run:
                run.stop()
            return
        if run is None:
            self._queue.remove(job)
        self._end_canceled(job)
        if run is None:
            job.upload.close()
            self._tell_positions()
        else:
            run.stop()

    def forget(self, job: Job) -> None:
        """Cancel a job, and keep nothing of it."""
        self.cancel(job)
        self._table.remove(job)

    @contextmanager
    def waiting(self, job: Job) -> Iterator[None]:
        """Wait for a job's end inside; when the last of those who wait leaves early, the job is canceled,
        unless its caller was told to come back (`is_detached`). Raises GatewayBusy for one too many."""
        require_share_of_job(job.num_waiting)
        job.num_waiting += 1
        try:
            yield
        finally:
            job.num_waiting -= 1
            if job.num_waiting == 0 and not job.is_detached:
                self.cancel(job)

    async def drain(self, timeout_s: float) -> bool:
        """Take no further job, and return whether the others ended in this time."""
        self._is_closing = True
        deadline = time.monotonic() + timeout_s
        while self._tasks and (rest_s := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
        return not self._tasks

    async def close(self, grace_s: float = 0.0) -> None:
        """Take no further job, cancel those that wait, and those that run after `grace_s`; forget all.

        Calls in flight are waited for, a minute at most; previews of ended jobs are not. May be repeated.
        """
        self._is_closing = True
        self._cancel_waiting()
        for run in set(self._runs.values()) - self._slots:
            run.stop()
        await self.drain(grace_s)
        for run in tuple(self._runs.values()):
            self.cancel(run.job)
        await self.drain(_DRAIN_CALLS_S)
        if self._sweeper:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        for job in self._table:
            self._table.remove(job)
        if self._webhooks:
            await self._webhooks.close()

    def _start_next(self) -> None:
        """Give free slots to those who wait longest."""
        while len(self._queue) and len(self._slots) < self._limits.max_running:
            job = self._queue.pop()
            job.start()
            self._metrics.stage_seconds("queued", job.queued_seconds)
            run = Run(job, self._judge, self._decoders, timeout_s=self._limits.job_timeout_s)
            self._runs[job.id] = run
            self._slots.add(run)
            task = asyncio.create_task(self._work(run))
            self._tasks.add(task)
            task.add_done_callback(self._worked)
        self._tell_positions()

    async def _work(self, run: Run) -> None:
        """Judge one job in its slot, free the slot, and wait for the job's preview."""
        began = time.monotonic()
        try:
            await run.outcome()
            if run.job.state is not JobState.CANCELED:
                self._ended(run.job)
            if run.job.state is JobState.DONE:
                self._pace.add_judged(time.monotonic() - began, run.windows_judged)
            await run.release()
            if self._is_closing:
                run.stop()
            # Otherwise the slot waits too, so that no more files stay open than can be worked on.
            if len(self._runs) - len(self._slots) < self._limits.max_running:
                self._free_slot(run, began)
            await run.preview_made()
        except asyncio.CancelledError:  # the event loop ends
            self._cancel_waiting()
            raise
        finally:
            await self._end(run, began)

    async def _end(self, run: Run, began: float) -> None:
        try:
            await run.end()
        finally:
            if not run.job.state.is_final:
                self._end_canceled(run.job)
            run.job.upload.close()
            del self._runs[run.job.id]
            self._free_slot(run, began)
            self._table.trim_previews(_MAX_PREVIEW_BYTES)

    def _free_slot(self, run: Run, began: float) -> None:
        """Give a run's slot to the next job, unless that was done already."""
        if run in self._slots:
            self._slots.remove(run)
            self._pace.add(time.monotonic() - began)
            self._start_next()

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log_unexpected(error, "a job")

    def _cancel_waiting(self) -> None:
        for job in self._queue.in_order():
            self.cancel(job)

    def _end_canceled(self, job: Job) -> None:
        if self._is_closing:
            job.error = _shutting_down()
        job.end(JobState.CANCELED, Canceled(job.error))
        self._ended(job)

    def _ended(self, job: Job) -> None:
        self._metrics.ended(job.state.value)
        if job.state is JobState.DONE and job.verdict is not None:
            self._metrics.judged(job.verdict)
        if job.started_at is not None and job.ended_at is not None:
            self._metrics.stage_seconds("judged", job.ended_at - job.started_at)
        if isinstance(job.error, ServerOverloaded):
            self._metrics.overloaded(str(job.error).partition(": ")[0])
        if self._webhooks:
            self._webhooks.announce(job)

    def _tell_positions(self) -> None:
        """Tell those who wait where they stand, if that has changed."""
        for position, job in enumerate(self._queue.in_order(), 1):
            if job.progress.position != position:
                job.add_event(Queued(position))
        self._metrics.load(running=len(self._slots), queued=len(self._queue))

    async def _sweep(self) -> None:
        retention_s = self._limits.retention_s
        while True:
            await asyncio.sleep(min(_SWEEP_S, max(0.01, retention_s / 4)))
            self._table.remove_ended_before(time.monotonic() - retention_s)


def _shutting_down() -> GatewayBusy:
    return GatewayBusy("gateway: it is shutting down; try another one, or again later")
