"""The page of a job: progress, verdict, preview, and what can be saved."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from deepfake_triton.client.verdicts.verdict import VideoFailure, VideoVerdict
from deepfake_triton.errors import JobNotReady
from deepfake_triton.gateway.dependencies import OwnJob, services_of
from deepfake_triton.gateway.jobs.job import Job, JobState
from deepfake_triton.gateway.page.form import read_short_form
from deepfake_triton.gateway.page.page_route import PageRoute
from deepfake_triton.gateway.page.presented import Presentations, Presented, presented
from deepfake_triton.gateway.page.preview import preview_response
from deepfake_triton.gateway.page.progress import progress_sentence
from deepfake_triton.gateway.page.rendering import render, texts_of
from deepfake_triton.gateway.report.csv_table import csv_table
from deepfake_triton.gateway.report.entries import ReportEntry
from deepfake_triton.gateway.report.html_report import html_report

_REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"

router = APIRouter(prefix="/jobs", route_class=PageRoute, include_in_schema=False)


@router.get("/{job_id}")
async def job_page(request: Request, job: OwnJob) -> Response:
    """Return the page of a job, which loads itself again until the job and its preview are done."""
    if job.state.is_final and job.state is not JobState.CANCELED:
        shown = await _presented(request, job)
        return await asyncio.to_thread(
            render,
            request,
            "job.html",
            job=job,
            item=shown.item,
            is_picture=shown.is_picture,
            is_open=job.preview_is_coming,
        )
    return render(
        request,
        "progress.html",
        job=job,
        is_open=not job.state.is_final,
        sentence=progress_sentence(job, texts_of(request)),
        progress=job.progress,
    )


@router.get("/{job_id}/verdict.html")
async def verdict_part(request: Request, job: OwnJob) -> Response:
    """Return the verdict alone, for the script of the start page."""
    shown = await _presented(request, job)
    return await asyncio.to_thread(render, request, "verdict_part.html", job=job, item=shown.item)


@router.get("/{job_id}/presentation")
async def presentation(request: Request, job: OwnJob) -> Response:
    """Return what the player needs: boxes, duration, sentence."""
    return Response((await _presented(request, job)).player, media_type="application/json")


@router.get("/{job_id}/preview")
async def preview_state(request: Request, job: OwnJob) -> Response:
    """Return whether there is a preview, which is asked again and again while it is being made."""
    return JSONResponse(
        {
            "preview": "coming" if job.preview_is_coming else "ready" if job.preview else "none",
            "seconds_per_window": services_of(request).jobs.seconds_per_window,
        }
    )


@router.get("/{job_id}/preview.mp4")
async def preview(request: Request, job: OwnJob) -> Response:
    """Return the small copy of the video, or the range of it that is asked for."""
    if job.preview is None or job.preview.closed:
        raise JobNotReady("preview: there is none, as yet or at all")
    return preview_response(job.preview, request.headers.get("range"))


@router.get("/{job_id}/verdict.json")
async def save_json(request: Request, job: OwnJob) -> Response:
    """Return the object of `detect --json`."""
    text = await asyncio.to_thread(_json_of, _outcome(request, job))
    return Response(text, headers=_saved_as("verdict.json"), media_type="application/json")


@router.get("/{job_id}/verdict.csv")
async def save_csv(request: Request, job: OwnJob) -> Response:
    """Return the verdict as a table of one row."""
    table = await asyncio.to_thread(csv_table, [_entry(request, job)], texts_of(request))
    return Response(_bytes(table), headers=_saved_as("verdict.csv"), media_type="text/csv; charset=utf-8")


@router.get("/{job_id}/report.html")
async def save_report(request: Request, job: OwnJob) -> Response:
    """Return the report, one file that needs no network."""
    report = await asyncio.to_thread(html_report, [_entry(request, job)], texts_of(request))
    headers = {**_saved_as("report.html"), "Content-Security-Policy": _REPORT_CSP}
    return Response(_bytes(report), headers=headers, media_type="text/html; charset=utf-8")


@router.post("/{job_id}/cancel")
async def cancel(request: Request, job: OwnJob) -> Response:
    """Cancel a job: the way without JavaScript."""
    services = services_of(request)
    services.access.sessions.require_csrf(request, (await read_short_form(request)).get("csrf"))
    services.jobs.cancel(job)
    return RedirectResponse(f"/jobs/{job.id}", HTTPStatus.SEE_OTHER)


def _outcome(request: Request, job: Job) -> VideoVerdict | VideoFailure:
    """Return the verdict of an ended job, or why there is none. Raises JobNotReady."""
    if job.verdict is not None:
        return job.verdict
    if job.error is None:
        raise JobNotReady("job: it has no result; wait for its end, or send the file again")
    model = services_of(request).client.known_model
    return VideoFailure(job.upload.name, type(job.error).__name__, str(job.error), model)


async def _presented(request: Request, job: Job) -> Presented:
    state, texts = request.app.state, texts_of(request)
    if not hasattr(state, "presentations"):
        state.presentations = Presentations()
    made: Presentations = state.presentations
    return await made.of(job, texts.language, partial(presented, _entry(request, job), texts))


def _entry(request: Request, job: Job) -> ReportEntry:
    outcome, upload = _outcome(request, job), job.upload
    ended_at = job.ended_at if job.ended_at is not None else time.time()
    return ReportEntry(upload.name, upload.sha256, ended_at, outcome, upload.size_bytes)


def _json_of(outcome: VideoVerdict | VideoFailure) -> bytes:
    text = json.dumps(outcome.as_dict(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _bytes(text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # names need not be UTF-8


def _saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
