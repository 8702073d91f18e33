"""How far a job is, in words."""

from __future__ import annotations

from deepfake_triton.gateway.jobs.job import Job, JobState
from deepfake_triton.gateway.words.texts import Texts


def progress_sentence(job: Job, texts: Texts) -> str:
    """Say how far a job is."""
    progress = job.progress
    if job.state is JobState.CANCELED:
        return texts("job.state.canceled")
    if job.state is JobState.QUEUED:
        if progress.position is None:
            return texts("job.state.starting")
        return texts("job.state.queued", position=progress.position)
    if progress.num_windows is None:
        return texts("job.state.running")
    return texts("job.state.windows", done=progress.windows_judged, total=progress.num_windows)
