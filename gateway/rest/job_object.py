"""The JSON of a job."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from deepfake_triton.errors import DeepfakeError
from deepfake_triton.gateway.http.answers import json_response
from deepfake_triton.gateway.jobs.job import Job
from deepfake_triton.gateway.problems import problem_of
from deepfake_triton.json_object import JsonObject


async def job_response(
    job: Job, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return the answer with a job's object."""
    if job.verdict is None:  # small, and not yet final: at one moment
        return JSONResponse(job_object(job), status, headers)
    return await json_response(lambda: job_object(job), status, headers)


def job_object(job: Job) -> JsonObject:
    """Return the documented JSON of a job: `result` is the object of `detect --json` once it is done."""
    progress = job.progress
    return {
        "id": job.id,
        "state": job.state.value,
        "position": progress.position,
        "progress": {
            "windows_decoded": progress.windows_decoded,
            "windows_judged": progress.windows_judged,
            "num_windows": progress.num_windows,
        },
        "created_at": job.created_at,
        "ended_at": job.ended_at,
        "result": job.verdict.as_dict() if job.verdict else None,
        "error": problem_of(job.error) if isinstance(job.error, DeepfakeError) else None,
    }
