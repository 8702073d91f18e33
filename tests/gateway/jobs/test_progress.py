"""How far a job is, and how much of what it told is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from judge_stand_in import upload_of

from deepfake_triton.gateway.jobs.events import Canceled, Decoded, Queued, WindowJudged
from deepfake_triton.gateway.jobs.job import MAX_EVENTS, Job, JobRequest, JobState
from deepfake_triton.gateway.jobs.progress import Progress

pytestmark = pytest.mark.fast


def judged(number: int, total: int) -> WindowJudged:
    return WindowJudged(number, total, 0.0, 1.0, 0, None)


def test_progress_follows_the_events() -> None:
    job = Job(upload_of(), JobRequest())
    seen = [job.progress]
    for event in (Queued(3), Queued(1), Decoded(1, 4), Decoded(2, 3), judged(1, 3)):
        job.add_event(event)
        seen.append(job.progress)
    assert seen == [
        Progress(),
        Progress(3),
        Progress(1),
        Progress(None, 1, 0, 4),
        Progress(None, 2, 0, 3),
        Progress(None, 2, 1, 3),
    ]


@pytest.mark.parametrize("leaves", [Job.start, lambda job: job.end(JobState.CANCELED, Canceled())])
def test_who_leaves_the_queue_has_no_place_in_it(leaves: Callable[[Job], None]) -> None:
    job = Job(upload_of(), JobRequest())
    job.add_event(Queued(1))
    leaves(job)
    assert job.progress == Progress()


def test_events_of_many_windows_are_bounded_and_a_late_follower_gets_the_latest() -> None:
    async def run() -> None:
        job = Job(upload_of(), JobRequest())
        prompt = job.follow()
        heard = []
        for number in range(1, 1001):
            job.add_event(judged(number, 1000))
            heard.append(await anext(prompt))
        assert [stamped.id for stamped in heard] == list(range(1, 1001)), "who keeps up misses nothing"
        job.end(JobState.CANCELED, Canceled())
        assert len(job.events) == MAX_EVENTS and job.num_events == 1001
        late = [stamped.id async for stamped in job.follow(7)]
        assert late == list(range(1002 - MAX_EVENTS, 1002))
        assert [stamped.id async for stamped in job.follow(999)] == [1000, 1001]
        await asyncio.wait_for(job.ended(), 20)

    asyncio.run(run())
