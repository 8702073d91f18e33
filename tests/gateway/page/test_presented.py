"""What the page shows of an ended job: made once, outside the event loop, and gone with the job."""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from gateway_verdicts import person, verdict

from deepfake_triton.client.verdicts.verdict import VideoFailure
from deepfake_triton.errors import InferenceFailed
from deepfake_triton.gateway.jobs.job import Job, JobRequest
from deepfake_triton.gateway.page import presented as presented_module
from deepfake_triton.gateway.page.presented import Presentations, Presented, presented
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.gateway.words.texts import read_texts

pytestmark = pytest.mark.fast
ENTRY = ReportEntry("a.mp4", "00" * 32, 0.0, verdict(person(0, [(3, 0.9)])), 5)
MADE = presented(ENTRY, read_texts("en"))


def job() -> Job:
    return Job(Upload(tempfile.TemporaryFile(), "a.mp4", 5, "00" * 32), JobRequest())


class Maker:
    """Counts how often a presentation is made, and where."""

    def __init__(self, fails: int = 0) -> None:
        self.threads: list[int] = []
        self.fails = fails

    def __call__(self) -> Presented:
        self.threads.append(threading.get_ident())
        if len(self.threads) <= self.fails:
            raise InferenceFailed("portrait: not this time")
        return MADE


def test_a_presentation_is_made_once_for_each_language_in_a_thread() -> None:
    async def ask() -> None:
        presentations, subject, make = Presentations(), job(), Maker()
        both = await asyncio.gather(*(presentations.of(subject, "en", make) for _ in range(5)))
        assert all(made is MADE for made in both) and len(make.threads) == 1
        assert threading.get_ident() not in make.threads
        await presentations.of(subject, "de", make)
        await presentations.of(job(), "en", make)
        assert len(make.threads) == 3

    asyncio.run(ask())


def test_one_that_failed_is_made_again_and_who_leaves_does_not_stop_it() -> None:
    async def ask() -> None:
        presentations, subject, make = Presentations(), job(), Maker(fails=1)
        with pytest.raises(InferenceFailed):
            await presentations.of(subject, "en", make)
        leaving = asyncio.create_task(presentations.of(subject, "en", make))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await presentations.of(subject, "en", make) is MADE
        assert len(make.threads) == 2

    asyncio.run(ask())


@pytest.mark.parametrize("most", [1, 3])
def test_only_the_latest_are_kept_and_none_beyond_its_job(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(presented_module, "_MAX_KEPT", most)

    async def ask(when_asked: Callable[[int], None]) -> None:
        presentations, subjects = Presentations(), [job() for _ in range(5)]
        for subject in subjects:
            await presentations.of(subject, "en", Maker())
            when_asked(len(presentations))
        again, make = subjects[-1], Maker()
        await presentations.of(again, "en", make)
        assert make.threads == []
        del subject, subjects, again
        await asyncio.sleep(0)
        gc.collect()
        assert len(presentations) == 0

    counts: list[int] = []
    asyncio.run(ask(counts.append))
    assert max(counts) == most


def test_the_player_is_told_boxes_and_clock_or_nothing() -> None:
    told = json.loads(MADE.player)
    assert (told["reading"], told["duration_seconds"], len(told["boxes"])) == ("fake", 60.0, 1)
    assert told["sentence"] == "Signs of manipulation at 0:03–0:04" and not told["is_picture"]
    failed = presented(
        replace(ENTRY, outcome=VideoFailure("a.mp4", "NotAVideo", "a.mp4: no", None)), read_texts("en")
    )
    told = json.loads(failed.player)
    assert (told["reading"], told["boxes"], told["duration_seconds"]) == ("failed", [], None)
