"""What jobs ask of the client and of the decoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol

from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.sending.calls_in_flight import CallsInFlight
from deepfake_triton.client.verdicts.verdict import VideoVerdict
from deepfake_triton.gateway.jobs.job import Job
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.preprocessing.video.window_source import WindowSource


class VideoInProcess(WindowSource, Protocol):
    """A video that a process of its own decodes."""

    def stop(self) -> None:
        """End the process; whoever waits for a window gets an error. Returns at once; may be repeated."""

    def close(self) -> None:
        """Wait for the end of the process, and free its memory."""


class Decoders(Protocol):
    """Processes that decode videos; DecoderPool is one."""

    def open_video(self, upload: Upload, selection: FrameSelection, timeout_s: float) -> VideoInProcess:
        """Return the video's windows, none of them decoded yet."""

    async def make_preview(self, upload: Upload) -> BinaryIO | None:
        """Return a small H.264 copy (MP4), or None if none can be made; a canceled task ends its process."""


class Judge(Protocol):
    """What turns windows into a verdict; AsyncDeepfakeClient is one."""

    async def detect(
        self,
        video: WindowSource,
        selection: FrameSelection | None = None,
        *,
        operating_point: str | None = None,
        on_progress: Callable[[DetectionProgress], None] | None = None,
        calls: CallsInFlight | None = None,
    ) -> VideoVerdict:
        """Return the verdict; see AsyncDeepfakeClient.detect."""


class Announcer(Protocol):
    """What tells others about ended jobs; WebhookSender is one."""

    def announce(self, job: Job) -> None:
        """Take up an ended job; returns at once."""

    async def close(self) -> None:
        """Deliver what can be delivered in a short time."""
