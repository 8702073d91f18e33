"""What the page shows of an ended job: made once for each language, outside the event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from deepfake_triton.client.verdicts.verdict import VideoVerdict
from deepfake_triton.gateway.jobs.job import Job
from deepfake_triton.gateway.page.boxes import boxes_of
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.report.html_report import EntryShown, entry_shown
from deepfake_triton.gateway.words.sentences import is_picture
from deepfake_triton.gateway.words.texts import Texts

_MAX_KEPT = 16
"""Jobs whose presentation is kept; one of a thousand windows takes megabytes."""


@dataclass(frozen=True)
class Presented:
    """What the page shows of an ended job.

    Attributes:
        item: Its outcome in words.
        is_picture: Whether the file is one picture.
        player: What the player needs, as JSON: boxes, duration, sentence.
    """

    item: EntryShown
    is_picture: bool
    player: bytes


class Presentations:
    """The latest presentations; they go with their jobs."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Job, dict[str, asyncio.Task[Presented]]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    async def of(self, job: Job, language: str, make: Callable[[], Presented]) -> Presented:
        """Return the presentation of a job in a language; `make` makes it, in a thread."""
        made = self._kept.setdefault(job, {})
        while len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        task = made.get(language)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = made[language] = asyncio.create_task(asyncio.to_thread(make))
        return await asyncio.shield(task)


def presented(entry: ReportEntry, texts: Texts) -> Presented:
    """Return what the page shows of an outcome."""
    item, outcome = entry_shown(entry, texts), entry.outcome
    verdict = outcome if isinstance(outcome, VideoVerdict) else None
    is_one_picture = verdict is not None and is_picture(verdict)
    player = {
        "reading": item.reading,
        "sentence": item.sentence,
        "is_picture": is_one_picture,
        "duration_seconds": verdict.duration_seconds if verdict else None,
        "boxes": boxes_of(verdict) if verdict else [],
    }
    text = json.dumps(player, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Presented(item, is_one_picture, text.encode("utf-8", "backslashreplace"))
