"""Jobs in the queue: order, bounds, repetition, retention; the client and the decoders are stand-ins."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from jobs_in_test import LIMITS, Gateway, run, until
from judge_stand_in import upload_of

from deepfake_triton.errors import (
    GatewayBusy,
    IdempotencyConflict,
    InferenceFailed,
    JobNotFound,
    NotAVideo,
    ServerOverloaded,
)
from deepfake_triton.gateway.jobs.job import JobRequest, JobState
from deepfake_triton.gateway.uploads.spool import Upload

pytestmark = pytest.mark.fast


def test_a_job_tells_each_step_and_ends_with_its_verdict() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        job = gateway.submit("portrait.mp4")
        followed = [stamped async for stamped in job.follow()]
        assert [s.event.name for s in followed] == [
            "queued", "decoded", "window", "decoded", "window", "verdict",
        ]  # fmt: skip
        assert [s.id for s in followed] == [1, 2, 3, 4, 5, 6]
        assert followed[2].event.as_dict() == {
            "windows_judged": 1, "num_windows": 2, "start_seconds": 0.0, "end_seconds": 0.5,
            "num_faces": 0, "fake_probability": None,
        }  # fmt: skip
        assert job.state is JobState.DONE and job.verdict and job.verdict.video == "portrait.mp4"
        assert followed[-1].event.as_dict() == job.verdict.as_dict()
        assert [s.id async for s in job.follow(4)] == [5, 6], "a follower that comes back misses nothing"
        await until(lambda: job.upload.file.closed)
        assert gateway.decoders.videos[0].was_closed
        assert gateway.jobs.find(job.id, None) is job
        assert gateway.jobs.seconds_per_window and gateway.jobs.seconds_per_window > 0

    run(scenario)


def test_owners_take_turns_and_each_is_told_its_position() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.decoders.num_windows = 1
        running = gateway.submit("a0", "alice")
        jobs = [gateway.submit(name, "alice") for name in ("a1", "a2")]
        late = gateway.submit("b1", "bob")
        assert [job.events[-1].event.as_dict() for job in (*jobs, late)] == [
            {"position": 1}, {"position": 3}, {"position": 2},
        ]  # fmt: skip
        assert [gateway.jobs.num_active(owner) for owner in ("alice", "bob", None)] == [3, 1, 0]
        await gateway.answer_all()
        assert gateway.judge.asked == ["a0", "a1", "b1", "a2"]
        assert [s.event.as_dict() for s in jobs[1].events if s.event.name == "queued"] == [
            {"position": 2}, {"position": 3}, {"position": 2}, {"position": 1},
        ]  # fmt: skip
        assert running.state is JobState.DONE
        assert gateway.jobs.num_active("alice") == 0

    run(scenario)


def test_no_more_run_and_wait_than_the_limits_say() -> None:
    async def scenario(gateway: Gateway) -> None:
        jobs = [gateway.submit(f"{index}") for index in range(5)]
        await until(lambda: len(gateway.judge.replies) == 2)
        assert [job.state.value for job in jobs] == ["running"] * 2 + ["queued"] * 3
        with pytest.raises(GatewayBusy, match="3 jobs wait, 3 at most"):
            gateway.jobs.require_room()
        gateway.jobs.cancel(jobs.pop())
        gateway.jobs.require_room()
        with pytest.raises(GatewayBusy, match="2 jobs wait"):
            gateway.jobs.require_room(num_uploading=1)
        jobs.append(gateway.submit("last"))
        refused = upload_of()
        with pytest.raises(GatewayBusy):
            gateway.jobs.submit(refused, JobRequest())
        assert refused.file.closed
        assert gateway.jobs.retry_after_s() == 10, "four jobs of 5 s each in two slots"
        assert b"gateway_jobs_running 2.0" in gateway.metrics.text()
        assert b"gateway_jobs_queued 3.0" in gateway.metrics.text()
        await gateway.answer_all()
        assert {job.state for job in jobs} == {JobState.DONE}
        assert gateway.jobs.retry_after_s() == 1, "they took no time"
        assert b'gateway_jobs_total{outcome="done"} 5.0' in gateway.metrics.text()
        assert b'gateway_job_seconds_count{stage="judged"} 5.0' in gateway.metrics.text()
        assert b"gateway_upload_bytes_total 9.0" in gateway.metrics.text()

    run(scenario, Gateway(dataclasses.replace(LIMITS, max_running=2)))


def test_errors_are_the_jobs_own(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        gateway.decoders.error = NotAVideo("clip.mp4: no media file")
        job = gateway.submit()
        await job.ended()
        assert job.state is JobState.FAILED and isinstance(job.error, NotAVideo)
        assert job.events[-1].event.as_dict() == {"type": "NotAVideo", "message": "clip.mp4: no media file"}

        gateway.decoders.error = ValueError("secret-name.mp4 is broken")
        job = gateway.submit()
        await job.ended()
        assert isinstance(job.error, InferenceFailed) and "ValueError" in str(job.error)

        gateway.decoders.error, gateway.judge.error = (
            None,
            ServerOverloaded("10.0.0.7:8001: queue full; retry"),
        )
        job = gateway.submit()
        await job.ended()
        assert isinstance(job.error, ServerOverloaded)
        assert b'deepfake_refused_total{server="10.0.0.7:8001"} 1.0' in gateway.metrics.text()

        gateway.judge.error = None
        job = gateway.submit()
        await job.ended()
        assert job.state is JobState.DONE, "the runner outlives them all"
        assert b'gateway_jobs_total{outcome="failed"} 3.0' in gateway.metrics.text()

    caplog.set_level(logging.DEBUG)
    run(scenario)
    assert "unexpected ValueError in a job" in caplog.text
    assert "open_video" in caplog.text, "the log says where"
    assert "secret-name" not in caplog.text


def test_the_same_key_gets_the_same_job() -> None:
    async def scenario(gateway: Gateway) -> None:
        job = gateway.submit("clip", "alice", "key-1")
        repeated = upload_of(b"clip", "clip")
        request = JobRequest(owner="alice", idempotency_key="key-1")
        assert gateway.jobs.submit(repeated, request) is job
        assert repeated.file.closed
        assert gateway.submit("clip", "bob", "key-1") is not job, "keys belong to their owner"
        with pytest.raises(IdempotencyConflict):
            gateway.submit("another clip", "alice", "key-1")
        with pytest.raises(IdempotencyConflict):
            changed = dataclasses.replace(request, operating_point="other")
            gateway.jobs.submit(upload_of(b"clip", "clip"), changed)
        for index in range(2):
            gateway.submit(f"{index}", "alice")
        with pytest.raises(GatewayBusy):
            gateway.jobs.require_room("alice", "key-2")
        gateway.jobs.require_room("alice", "key-1", num_uploading=3)
        with pytest.raises(GatewayBusy, match="4 uploads are under way"):
            gateway.jobs.require_room("alice", "key-1", num_uploading=4)
        assert gateway.submit("clip", "alice", "key-1") is job, "a full queue takes repetitions"
        await gateway.answer_all()
        assert gateway.submit("clip", "alice", "key-1") is job and job.state is JobState.DONE

    run(scenario)


def test_a_key_whose_job_was_canceled_or_whose_server_failed_may_try_again() -> None:
    async def scenario(gateway: Gateway) -> None:
        canceled = gateway.submit("clip", key="key-1")
        gateway.jobs.cancel(canceled)
        again = gateway.submit("clip", key="key-1")
        assert again is not canceled
        gateway.judge.error = ServerOverloaded("a:1: full")
        await gateway.answer_all()
        assert again.state is JobState.FAILED
        at_fault = gateway.submit("clip", key="key-1")
        assert at_fault is not again
        gateway.judge.error = GatewayBusy("no process can be started")
        await gateway.answer_all()
        assert gateway.submit("clip", key="key-1") is not at_fault, "it failed through no fault of its own"

    run(scenario)


def test_ended_jobs_are_forgotten_after_their_retention() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        job = gateway.submit("clip", "alice", "key-1")
        await job.ended()
        assert gateway.jobs.find(job.id, "alice") is job
        with pytest.raises(JobNotFound):
            gateway.jobs.find(job.id, "bob")
        await until(lambda: job.is_forgotten)
        with pytest.raises(JobNotFound, match="unknown or has expired"):
            gateway.jobs.find(job.id, "alice")
        assert gateway.submit("clip", "alice", "key-1") is not job

    run(scenario, Gateway(dataclasses.replace(LIMITS, retention_s=2)))


def test_the_table_is_bounded_and_the_oldest_ended_job_goes_first() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        ended = [gateway.submit(f"{index}") for index in range(2)]
        for job in ended:
            await job.ended()
        gateway.judge.is_held = True
        waiting = [gateway.submit(f"w{index}") for index in range(2)]
        assert [job.is_forgotten for job in ended] == [True, False]
        waiting.append(gateway.submit("w2"))
        assert ended[1].is_forgotten
        refused: Upload = upload_of()
        with pytest.raises(GatewayBusy, match="3 jobs are under way"):
            gateway.jobs.submit(refused, JobRequest())
        assert refused.file.closed and not any(job.is_forgotten for job in waiting)

    run(scenario, Gateway(dataclasses.replace(LIMITS, max_kept=3, max_queued=5)))


def test_the_owner_that_keeps_most_makes_room_for_others() -> None:
    async def scenario(gateway: Gateway) -> None:
        gateway.judge.is_held = False
        ended = [gateway.submit(f"{index}", owner) for index, owner in enumerate(("bob", "alice", "alice"))]
        for job in ended:
            await job.ended()
        gateway.submit("3", "alice")
        assert [job.is_forgotten for job in ended] == [False, True, False], "bob's is the oldest"
        gateway.submit("4", "carol")
        assert ended[0].is_forgotten, "one each: the oldest of all"

    run(scenario, Gateway(dataclasses.replace(LIMITS, max_kept=3, max_queued=5)))
