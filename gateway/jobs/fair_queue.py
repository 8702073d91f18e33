"""The queue of jobs: first in, first out for each owner, and the owners in turn."""

from __future__ import annotations

from collections import deque

from deepfake_triton.gateway.jobs.job import Job


class FairQueue:
    """Jobs that wait. An owner with a hundred of them delays another's first by one."""

    def __init__(self) -> None:
        self._by_owner: dict[str | None, deque[Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_owner.values()))

    def append(self, job: Job) -> None:
        """Add a job behind its owner's other ones."""
        self._by_owner.setdefault(job.request.owner, deque()).append(job)

    def pop(self) -> Job:
        """Take the next job; its owner's turn comes after all others'. Raises KeyError if none waits."""
        owner, jobs = next(iter(self._by_owner.items()), (None, None))
        if jobs is None:
            raise KeyError("the queue is empty")
        job = jobs.popleft()
        del self._by_owner[owner]
        if jobs:
            self._by_owner[owner] = jobs
        return job

    def remove(self, job: Job) -> None:
        """Take a job out. Raises ValueError if it does not wait."""
        jobs = self._by_owner.get(job.request.owner, deque())
        jobs.remove(job)
        if not jobs:
            del self._by_owner[job.request.owner]

    def in_order(self) -> list[Job]:
        """Return the jobs in the order in which they would be taken."""
        rest = [deque(jobs) for jobs in self._by_owner.values()]
        order: list[Job] = []
        while rest:
            order += [jobs.popleft() for jobs in rest]
            rest = [jobs for jobs in rest if jobs]
        return order
