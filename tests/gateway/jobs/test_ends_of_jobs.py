"""How jobs end early or late: canceled, timed out, closed with their gateway, with a preview to come."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from contextlib import ExitStack, suppress

import pytest
from jobs_in_test import LIMITS, Gateway, names_of, run, until
from judge_stand_in import upload_of

from deepfake_triton.errors import (
    DeadlineExceeded,
    GatewayBusy,
    JobNotFound,
    NotAVideo,
)
from deepfake_triton.gateway.jobs.events import Canceled
from deepfake_triton.gateway.jobs.job import MAX_FOLLOWERS, Job, JobRequest, JobState
from deepfake_triton.gateway.jobs.table import JobTable

pytestmark = pytest.mark.fast


def test_a_waiting_job_that_is_canceled_ends_at_once() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.submit("first")
        second, third = gateway.submit("second"), gateway.submit("third")
        gateway.jobs.cancel(second)
        assert second.state is JobState.CANCELED and second.upload.file.closed
        assert names_of(second) == ["queued", "canceled"]
        assert third.events[-1].event.as_dict() == {"position": 1}
        await gateway.answer_all()
        assert "second" not in gateway.judge.asked

    run(scenario)


def test_a_running_job_that_is_canceled_keeps_its_slot_until_its_call_has_ended() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.decoders.num_windows = 3
        first, second = gateway.submit("first", "alice"), gateway.submit("second", "bob")
        await until(lambda: gateway.judge.replies)
        gateway.jobs.cancel(first)
        assert first.state is JobState.CANCELED and gateway.decoders.videos[0].was_stopped
        assert names_of(first)[-1] == "canceled"
        await asyncio.sleep(0.05)
        assert second.state is JobState.QUEUED, "the call is still on its way"
        assert gateway.jobs.num_active("alice") == 1
        assert not first.upload.file.closed
        gateway.judge.answer()
        await until(lambda: second.state is JobState.RUNNING)
        assert gateway.jobs.num_active("alice") == 0
        await until(lambda: first.upload.file.closed)
        await gateway.answer_all()
        assert gateway.judge.asked == ["first", "second", "second", "second"], "no further window was asked"
        assert first.verdict is None and names_of(first)[-1] == "canceled", "the answer is dropped"

    run(scenario)


def test_the_last_of_those_who_wait_takes_the_job_along() -> None:
    async def scenario(gateway: Gateway) -> None:
        job, kept = gateway.submit("clip"), gateway.submit("kept")
        kept.is_detached = True
        with gateway.jobs.waiting(job):
            with gateway.jobs.waiting(job):
                pass
            assert not job.state.is_final
        assert job.state is JobState.CANCELED
        with gateway.jobs.waiting(kept):
            pass
        assert not kept.state.is_final

    run(scenario)


def test_so_many_wait_for_a_job_and_no_more() -> None:
    async def scenario(gateway: Gateway) -> None:
        job = gateway.submit("clip")
        with ExitStack() as stack:
            for _ in range(MAX_FOLLOWERS):
                stack.enter_context(gateway.jobs.waiting(job))
            with pytest.raises(GatewayBusy, match="16 requests wait for it"), gateway.jobs.waiting(job):
                pass
            assert job.num_waiting == MAX_FOLLOWERS and not job.state.is_final

    run(scenario)


def test_a_job_that_takes_too_long_fails() -> None:
    async def scenario(gateway: Gateway) -> None:
        job, second = gateway.submit(), gateway.submit()
        await asyncio.wait_for(job.ended(), 20)
        assert isinstance(job.error, DeadlineExceeded) and "0.05 s" in str(job.error)
        assert gateway.decoders.videos[0].was_stopped
        assert second.state is JobState.QUEUED, "its call is still on its way"
        gateway.judge.answer()
        await until(lambda: second.state is not JobState.QUEUED)

    run(scenario, Gateway(dataclasses.replace(LIMITS, job_timeout_s=0.05)))


def test_the_verdict_does_not_wait_for_the_preview_which_ends_with_the_job() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        gateway.decoders.preview = asyncio.get_running_loop().create_future()
        job = gateway.jobs.submit(upload_of(), JobRequest(wants_preview=True))
        await job.ended()
        assert job.preview_is_coming and job.preview is None and not job.upload.file.closed
        preview = io.BytesIO(b"mp4")
        gateway.decoders.preview.set_result(preview)
        await until(lambda: job.preview)
        assert job.preview is preview and not job.preview_is_coming
        gateway.jobs.forget(job)
        assert preview.closed
        with pytest.raises(JobNotFound):
            gateway.jobs.find(job.id, None)

    run(scenario)


def test_a_preview_holds_up_no_other_job_until_too_many_are_made() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        gateway.decoders.preview = asyncio.get_running_loop().create_future()
        jobs = [gateway.jobs.submit(upload_of(), JobRequest(wants_preview=True)) for _ in range(3)]
        await asyncio.wait_for(jobs[1].ended(), 20)
        assert jobs[0].preview_is_coming and not jobs[0].upload.file.closed
        assert all(video.was_closed for video in gateway.decoders.videos[:1])
        await asyncio.sleep(0.05)
        assert jobs[2].state is JobState.QUEUED, "the files of two wait for their previews"
        assert gateway.jobs.num_active(None) == 2
        gateway.decoders.preview.set_result(None)
        await until(lambda: all(job.upload.file.closed for job in jobs))
        assert jobs[2].verdict and gateway.jobs.num_active(None) == 0

    run(scenario)


def test_closing_does_not_wait_for_previews() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        gateway.decoders.preview = asyncio.get_running_loop().create_future()
        jobs = [gateway.jobs.submit(upload_of(), JobRequest(wants_preview=True)) for _ in range(2)]
        await jobs[0].ended()
        await asyncio.wait_for(gateway.jobs.close(grace_s=60), 20)
        assert all(job.upload.file.closed and not job.preview_is_coming for job in jobs)

    run(scenario)


def test_the_oldest_previews_make_room() -> None:
    table = JobTable(max_kept=10)
    jobs = [Job(upload_of(), JobRequest()) for _ in range(4)]
    for job in jobs:
        table.add(job)
        job.add_preview(io.BytesIO(b"x" * 40))
    table.trim_previews(100)
    assert [job.preview is None for job in jobs] == [True, True, False, False]
    assert [job.preview_bytes for job in jobs] == [0, 0, 40, 40]


@pytest.mark.parametrize("error", [NotAVideo("no"), ValueError("no")])
def test_a_preview_that_fails_fails_nothing_else(error: Exception) -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        gateway.decoders.preview = asyncio.get_running_loop().create_future()
        gateway.decoders.preview.set_exception(error)
        job = gateway.jobs.submit(upload_of(), JobRequest(wants_preview=True))
        await until(lambda: job.upload.file.closed)
        assert job.state is JobState.DONE and job.preview is None and not job.preview_is_coming

    run(scenario)


def test_closing_cancels_those_that_wait_and_lets_the_running_one_end() -> None:
    async def scenario(gateway: Gateway) -> None:
        running, waiting = gateway.submit("running"), gateway.submit("waiting")
        await until(lambda: gateway.judge.replies)
        closing = asyncio.create_task(gateway.jobs.close(grace_s=5))
        await until(lambda: waiting.state is JobState.CANCELED)
        assert isinstance(waiting.error, GatewayBusy), "whoever waits for it is told to ask again"
        assert waiting.events[-1].event == Canceled(waiting.error)
        with pytest.raises(GatewayBusy, match="shutting down"):
            gateway.submit("late")
        await gateway.answer_all()
        await closing
        assert running.state is JobState.DONE

    run(scenario)


def test_closing_waits_for_calls_of_what_it_cancels() -> None:
    async def scenario(gateway: Gateway) -> None:
        job = gateway.submit()
        await until(lambda: gateway.judge.replies)
        closing = asyncio.create_task(gateway.jobs.close(grace_s=0.01))
        await until(lambda: job.state is JobState.CANCELED)
        await asyncio.sleep(0.05)
        assert not closing.done()
        gateway.judge.answer()
        await asyncio.wait_for(closing, 20)
        assert job.upload.file.closed

    run(scenario)


def test_draining_lets_all_of_them_end() -> None:
    async def scenario(gateway: Gateway) -> None:
        jobs = [gateway.submit(f"{index}") for index in range(3)]
        assert not await gateway.jobs.drain(0.05)
        draining = asyncio.create_task(gateway.jobs.drain(5))
        await gateway.answer_all()
        assert await draining
        assert {job.state for job in jobs} == {JobState.DONE}

    run(scenario)


def test_an_end_of_the_loop_ends_the_jobs() -> None:
    jobs: list[Job] = []

    async def cut_off() -> None:
        gateway = Gateway()
        jobs.extend(gateway.submit() for _ in range(2))
        await until(lambda: gateway.judge.replies)
        gateway.judge.answer()

    with suppress(asyncio.CancelledError):
        asyncio.run(cut_off())
    assert [job.state for job in jobs] == [JobState.CANCELED] * 2
    assert all(job.upload.file.closed for job in jobs)
