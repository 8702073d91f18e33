"""The bounded table of jobs, by their ids and by their callers' own names for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from deepfake_triton.errors import (
    GatewayBusy,
    IdempotencyConflict,
    JobNotFound,
    ServerError,
)
from deepfake_triton.gateway.jobs.job import Job, JobRequest, JobState


class JobTable:
    """Jobs in memory, the oldest first."""

    def __init__(self, max_kept: int) -> None:
        self._max_kept = max_kept
        self._jobs: dict[str, Job] = {}
        self._ids: dict[tuple[str | None, str], str] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, job_id: str, owner: str | None) -> Job:
        """Return an owner's job. Raises JobNotFound."""
        job = self._jobs.get(job_id)
        if job is None or job.request.owner != owner:
            raise JobNotFound("job: got an id that is unknown or has expired; send the video again")
        return job

    def named(self, owner: str | None, idempotency_key: str | None) -> Job | None:
        """Return the job that a repetition gets: none for one that was canceled, or failed through
        no fault of its own."""
        if idempotency_key is None or (job_id := self._ids.get((owner, idempotency_key))) is None:
            return None
        job = self._jobs[job_id]
        may_succeed = isinstance(job.error, ServerError | GatewayBusy)
        return None if job.state is JobState.CANCELED or may_succeed else job

    def repeated(self, request: JobRequest, sha256: str) -> Job | None:
        """Return the job of the same request on the same bytes. Raises IdempotencyConflict for others."""
        job = self.named(request.owner, request.idempotency_key)
        if job is not None and (job.request, job.upload.sha256) != (request, sha256):
            raise IdempotencyConflict(
                "Idempotency-Key: got that of another file or other options; use a new key for each request"
            )
        return job

    def add(self, job: Job) -> None:
        """Add a job; the oldest ended one of the owner that keeps most makes room.

        Raises GatewayBusy if all of them are under way.
        """
        while len(self._jobs) >= self._max_kept:
            ended = [old for old in self if old.state.is_final]
            if not ended:
                raise GatewayBusy(f"gateway: {len(self._jobs)} jobs are under way; try again later")
            ((owner, _),) = Counter(old.request.owner for old in ended).most_common(1)
            self.remove(next(old for old in ended if old.request.owner == owner))
        self._jobs[job.id] = job
        if job.request.idempotency_key is not None:
            self._ids[job.request.owner, job.request.idempotency_key] = job.id

    def remove(self, job: Job) -> None:
        """Forget a job, and close its preview; one that is forgotten stays so."""
        if self._jobs.pop(job.id, None) is None:
            return
        key = (job.request.owner, job.request.idempotency_key or "")
        if self._ids.get(key) == job.id:
            del self._ids[key]
        job.forget()

    def trim_previews(self, max_bytes: int) -> None:
        """Drop the oldest previews until the others are within `max_bytes`."""
        kept_bytes = sum(job.preview_bytes for job in self)
        for job in self:
            if kept_bytes <= max_bytes:
                return
            kept_bytes -= job.preview_bytes
            job.drop_preview()

    def remove_ended_before(self, time_s: float) -> None:
        """Forget the jobs that ended before a time by time.monotonic()."""
        for job in self:
            if job.ended_monotonic is not None and job.ended_monotonic < time_s:
                self.remove(job)
