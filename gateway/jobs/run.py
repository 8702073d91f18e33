"""One job's way through decoding and judging."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import BinaryIO

from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.sending.calls_in_flight import CallsInFlight
from deepfake_triton.client.verdicts.verdict import VideoVerdict
from deepfake_triton.client.wire.tracing import span, trace_context
from deepfake_triton.errors import DeadlineExceeded, DeepfakeError, InferenceFailed
from deepfake_triton.gateway.jobs.events import Decoded, Failed, Judged, WindowJudged
from deepfake_triton.gateway.jobs.job import Job, JobState
from deepfake_triton.gateway.jobs.parts import Decoders, Judge, VideoInProcess
from deepfake_triton.gateway.unexpected import log_unexpected


class Run:
    """A job that is judged, in a slot, and whose preview is made, which may outlast the slot.

    `outcome()` ends the job, `release()` waits until its slot may be freed, and `preview_made()` for its
    preview. Between the first two, calls that nobody waits for any more end by themselves: a canceled call
    would bring down the embedded Triton.
    """

    def __init__(self, job: Job, judge: Judge, decoders: Decoders, *, timeout_s: float) -> None:
        self.job = job
        self.windows_judged = 0
        self._judge, self._decoders, self._timeout_s = judge, decoders, timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._calls = CallsInFlight()
        self._video: VideoInProcess | None = None
        self._loop = asyncio.get_running_loop()
        self._judging = asyncio.create_task(self._judged())
        self._preview: asyncio.Task[BinaryIO | None] | None = None
        if job.request.wants_preview:
            job.preview_is_coming = True
            self._preview = asyncio.create_task(decoders.make_preview(job.upload))

    def stop(self) -> None:
        """Decode and ask nothing further; may be repeated."""
        if self._video:
            self._video.stop()
        for task in (self._judging, self._preview):
            if task:
                task.cancel()

    async def outcome(self) -> None:
        """Judge the job's video and end the job, unless it was canceled meanwhile."""
        await asyncio.wait({self._judging}, timeout=self._timeout_s)
        error = self._error()
        if self.job.state.is_final:
            return
        if error is None:
            self.job.verdict = self._judging.result()
            self.job.end(JobState.DONE, Judged(self.job.verdict))
        else:
            self.job.error = error
            self.job.end(JobState.FAILED, Failed(error))

    async def release(self) -> None:
        """Stop decoding and judging, and wait until the calls in flight have ended; may be repeated."""
        if self._video:
            self._video.stop()
        self._judging.cancel()
        await asyncio.wait({self._judging})
        try:
            if self._video:
                await asyncio.to_thread(self._video.close)
        finally:
            await self._calls.drained()

    async def preview_made(self) -> None:
        """Wait for the preview of a judged video, until the job's time-out, and hand it to the job."""
        if self._preview is None:
            return
        if self.job.state is JobState.DONE:
            await asyncio.wait({self._preview}, timeout=max(0.0, self._deadline - time.monotonic()))
        self._preview.cancel()
        await asyncio.wait({self._preview})
        self.job.add_preview(self._made(self._preview))
        self._preview = None

    async def end(self) -> None:
        """Stop what still runs, and wait for its end."""
        self.stop()
        try:
            await self.release()
        finally:
            await self.preview_made()

    async def _judged(self) -> VideoVerdict:
        request = self.job.request
        self._video = self._decoders.open_video(self.job.upload, request.selection, self._timeout_s)
        caller_s_trace = trace_context(request.traceparent) if request.traceparent else nullcontext()
        # Neither its id, which lets anyone follow the job, nor the name of the file.
        with caller_s_trace, span("gateway.job", queued_seconds=self.job.queued_seconds):
            return await self._judge.detect(
                self._video,
                request.selection,
                operating_point=request.operating_point,
                on_progress=self._on_progress,
                calls=self._calls,
            )

    def _error(self) -> DeepfakeError | None:
        """Return why there is no verdict; None if there is one, or the job was canceled."""
        if not self._judging.done():
            limit = f"{self._timeout_s:g} s"
            return DeadlineExceeded(f"job: no verdict within {limit}; send a shorter video, or fewer windows")
        if self._judging.cancelled() or (error := self._judging.exception()) is None:
            return None
        if isinstance(error, DeepfakeError):
            return error
        log_unexpected(error, "a job")
        return InferenceFailed(
            f"job: the gateway failed ({type(error).__name__}), which is no fault of the video; send it again"
        )

    def _made(self, task: asyncio.Task[BinaryIO | None]) -> BinaryIO | None:
        """Return the preview, or None: one that failed, or took too long, is left out."""
        if task.cancelled():
            return None
        if error := task.exception():
            if not isinstance(error, DeepfakeError):
                log_unexpected(error, "a job")
            return None
        if self.job.state is JobState.DONE:
            return task.result()
        if preview := task.result():
            preview.close()
        return None

    def _on_progress(self, progress: DetectionProgress) -> None:
        """Report progress, from whichever thread."""
        self._loop.call_soon_threadsafe(self._report, progress)

    def _report(self, progress: DetectionProgress) -> None:
        if self.job.state is not JobState.RUNNING:
            return
        if progress.faces is None:
            self.job.add_event(Decoded(progress.windows_decoded, progress.num_windows))
            return
        self.windows_judged = progress.windows_judged
        probabilities = [face.fake_probability for face in progress.faces]
        self.job.add_event(
            WindowJudged(
                progress.windows_judged,
                progress.num_windows,
                progress.start_seconds,
                progress.end_seconds,
                len(probabilities),
                max(probabilities, default=None),
            )
        )
