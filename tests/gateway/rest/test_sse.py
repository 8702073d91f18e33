from __future__ import annotations

import asyncio
import io
import json

import pytest
from starlette.types import Message

from deepfake_triton.errors import GatewayBusy
from deepfake_triton.gateway.jobs.events import Canceled, Decoded, Queued
from deepfake_triton.gateway.jobs.job import MAX_FOLLOWERS, Job, JobRequest, JobState
from deepfake_triton.gateway.rest import sse
from deepfake_triton.gateway.rest.sse import event_stream
from deepfake_triton.gateway.uploads.spool import Upload

pytestmark = pytest.mark.fast


def new_job() -> Job:
    """A job that waits."""
    job = Job(Upload(io.BytesIO(), "clip.mp4", 0, "0" * 64), JobRequest())
    job.add_event(Queued(1))
    return job


def test_a_follower_that_is_slower_than_the_job_misses_nothing() -> None:
    async def follow() -> list[str]:
        job = new_job()
        parts: list[str] = []
        async for part in event_stream(job, None).body_iterator:
            parts.append(str(part))
            if len(parts) < 4:
                job.add_event(Decoded(len(parts), 3))
            elif not job.state.is_final:
                job.end(JobState.CANCELED, Canceled())
        return parts

    parts = asyncio.run(follow())
    assert [part.partition("\n")[0] for part in parts] == [f"id: {number}" for number in range(1, 6)]
    assert parts[-1] == "id: 5\nevent: canceled\ndata: {}\n\n"


def test_a_silent_job_sends_comments_and_loses_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "COMMENT_S", 0.01)

    async def follow() -> list[str]:
        job = new_job()
        parts: list[str] = []
        async for part in event_stream(job, "1").body_iterator:
            parts.append(str(part))
            if len(parts) == 3:
                job.end(JobState.CANCELED, Canceled())
        return parts

    parts = asyncio.run(follow())
    assert [part.startswith(": ") for part in parts] == [True, True, True, False]
    assert "event: canceled" in parts[-1]


def test_a_follower_that_leaves_stops_waiting() -> None:
    async def follow() -> int:
        stream = event_stream(new_job(), None).body_iterator
        assert "event: queued" in str(await anext(aiter(stream)))
        waiting = asyncio.ensure_future(anext(aiter(stream)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return len(asyncio.all_tasks())

    assert asyncio.run(follow()) == 1


def test_who_follows_a_job_of_a_gateway_that_stops_is_told_why() -> None:
    async def follow() -> str:
        job = new_job()
        job.end(JobState.CANCELED, Canceled(GatewayBusy("gateway: it is shutting down")))
        return [str(part) async for part in event_stream(job, "1").body_iterator][-1]

    id_line, event, data, *_ = asyncio.run(follow()).splitlines()
    assert (id_line, event) == ("id: 2", "event: canceled")
    problem = json.loads(data.removeprefix("data: "))["problem"]
    assert (problem["error"], problem["status"]) == ("GatewayBusy", 503)


def test_followers_of_a_job_have_a_share() -> None:
    async def follow() -> None:
        job, gone = new_job(), asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: Message) -> None:
            pass

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        streams = [event_stream(job, None) for _ in range(MAX_FOLLOWERS)]
        following = [asyncio.ensure_future(stream(scope, receive, send)) for stream in streams]
        await asyncio.sleep(0.01)
        with pytest.raises(GatewayBusy, match="16 requests wait for it, 16 at most"):
            event_stream(job, None)
        assert event_stream(new_job(), None), "another job's followers are their own"
        gone.set()
        await asyncio.gather(*following)
        assert job.num_following == 0 and event_stream(job, None)

    asyncio.run(follow())
