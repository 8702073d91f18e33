"""Jobs between stand-ins of the client and the decoders, and how tests wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from judge_stand_in import DecodersStandIn, JudgeStandIn, upload_of

from deepfake_triton.gateway.jobs.job import Job, JobRequest
from deepfake_triton.gateway.jobs.jobs import Jobs
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.settings import Limits

LIMITS = Limits(max_running=1, max_queued=3, max_kept=10, retention_s=60, job_timeout_s=30)


@dataclass
class Gateway:
    """Jobs between stand-ins."""

    limits: Limits = LIMITS
    judge: JudgeStandIn = field(default_factory=lambda: JudgeStandIn(is_held=True))
    decoders: DecodersStandIn = field(default_factory=DecodersStandIn)
    metrics: GatewayMetrics = field(default_factory=GatewayMetrics)

    def __post_init__(self) -> None:
        self.submitted: list[Job] = []
        self.jobs = Jobs(self.judge, self.decoders, self.limits, metrics=self.metrics)

    def submit(self, name: str = "clip.mp4", owner: str | None = None, key: str | None = None) -> Job:
        """Submit a video whose bytes are its name."""
        job = self.jobs.submit(upload_of(name.encode(), name), JobRequest(owner=owner, idempotency_key=key))
        self.submitted.append(job)
        return job

    async def answer_all(self) -> None:
        """Let every call end until no job is left."""
        while self.judge.replies or not all(job.upload.file.closed for job in self.submitted):
            if self.judge.replies:
                self.judge.answer()
            await asyncio.sleep(0.001)


def run(scenario: Callable[[Gateway], Awaitable[None]], gateway: Gateway | None = None) -> None:
    """Run a test in an event loop, and close the jobs at its end."""

    async def whole() -> None:
        used = gateway or Gateway()
        await used.jobs.start()
        try:
            await scenario(used)
        finally:  # also of a test that fails: calls are never canceled, so that the loop would wait for ever
            used.judge.is_held = False
            for reply in used.judge.replies:
                if not reply.done():
                    reply.set_result(None)
            await asyncio.wait_for(used.jobs.close(), 30)

    asyncio.run(whole())


async def until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until a condition holds."""
    async with _Deadline(timeout_s):
        while not condition():
            await asyncio.sleep(0.001)


class _Deadline:
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, task.cancel)

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()


def names_of(job: Job) -> list[str]:
    """Names of a job's events so far."""
    return [stamped.event.name for stamped in job.events]
