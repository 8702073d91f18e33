"""The queue and the estimate behind Retry-After, by their rules alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_stand_in import upload_of

from deepfake_triton.gateway.jobs.fair_queue import FairQueue
from deepfake_triton.gateway.jobs.job import Job, JobRequest
from deepfake_triton.gateway.jobs.pace import MAX_RETRY_AFTER_S, Pace

pytestmark = pytest.mark.fast


def queue_of(owners: list[str]) -> tuple[FairQueue, list[Job]]:
    """A queue, and its jobs in the order in which they came."""
    queue = FairQueue()
    jobs = [Job(upload_of(), JobRequest(owner=owner)) for owner in owners]
    for job in jobs:
        queue.append(job)
    return queue, jobs


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_owners_take_turns_and_their_own_jobs_keep_their_order(owners: list[str]) -> None:
    queue, jobs = queue_of(owners)
    foretold = queue.in_order()
    taken = [queue.pop() for _ in range(len(queue))]
    assert taken == foretold and len(queue) == 0 and set(taken) == set(jobs)
    for owner in set(owners):
        assert [job for job in taken if job.request.owner == owner] == [
            job for job in jobs if job.request.owner == owner
        ]
    present = len(set(owners))
    first_round = [job.request.owner for job in taken[:present]]
    assert len(set(first_round)) == present, "nobody comes twice before everybody came once"


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8), st.data())
def test_a_job_that_is_taken_out_leaves_the_others_in_order(owners: list[str], data: st.DataObject) -> None:
    queue, jobs = queue_of(owners)
    gone = data.draw(st.sampled_from(jobs))
    queue.remove(gone)
    assert gone not in queue.in_order() and len(queue) == len(jobs) - 1
    with pytest.raises(ValueError, match=r"not in|x not"):
        queue.remove(gone)


def test_an_empty_queue_has_nothing_to_take() -> None:
    with pytest.raises(KeyError):
        FairQueue().pop()


def test_the_estimate_follows_the_latest_jobs() -> None:
    pace = Pace()
    assert pace.retry_after_s(0, 1) == 5, "a guess before the first job"
    pace.add(10)
    assert pace.retry_after_s(0, 1) == 10
    assert pace.retry_after_s(3, 2) == 20, "four jobs of 10 s in two slots"
    for _ in range(40):
        pace.add(1)
    assert pace.retry_after_s(0, 1) == 2
    assert pace.retry_after_s(10_000, 1) == MAX_RETRY_AFTER_S
    pace.add_judged(8, 4)
    assert pace.seconds_per_window == 2
