"""OpenAPI 3.1 of the REST API; its verdict is verdict.schema.json itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from deepfake_triton.gateway.problems import MEDIA_TYPE
from deepfake_triton.json_object import JsonObject

JOB_OPERATIONS = ("read_job", "follow_job", "cancel_job")
_COMPONENTS = "#/components/schemas/"
_DEFINITIONS = "#/$defs/"
_MEANING = {
    400: "The body holds no file, or is cut off.",
    401: "No API key, or an unknown one.",
    403: "Another site's request, or a URL that is not allowed.",
    404: "No such thing, or another caller's.",
    409: "The job has no such result.",
    413: "More bytes or hours than are accepted.",
    415: "A type of body that is not taken.",
    422: "A parameter, or a file, that cannot be used.",
    429: "More requests or jobs at once than the key may make.",
    502: "A server failed.",
    503: "The gateway can take on no more at the moment, or no server answers.",
    504: "The time for the job has passed.",
    507: "No room on the disk.",
}
_NULLABLE_NUMBER = {"type": ["number", "null"]}
_NULLABLE_INTEGER = {"type": ["integer", "null"], "minimum": 0}


@cache
def verdict_schema() -> str:
    """Return the text of verdict.schema.json."""
    folder = resources.files("deepfake_triton.client.verdicts")
    return folder.joinpath("verdict.schema.json").read_text(encoding="utf-8")


def schema_answer(status: int, name: str, description: str = "OK") -> dict[int | str, dict[str, Any]]:
    """Return the description of a JSON answer whose schema is a component."""
    content = {"application/json": {"schema": {"$ref": _COMPONENTS + name}}}
    return {status: {"description": description, "content": content}}


def job_links() -> dict[str, Any]:
    """Return the links from a job's answer to the operations on that job."""
    parameters = {"job_id": "$response.body#/id"}
    return {name: {"operationId": name, "parameters": parameters} for name in JOB_OPERATIONS}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of problem answers with these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _COMPONENTS + "Problem"}}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


def openapi_of(
    routes: Sequence[BaseRoute],
    version: str,
    *,
    has_keys: bool,
    max_windows: int,
    operating_points: Sequence[str] = (),
) -> JsonObject:
    """Return the description of these routes; `operating_points` are the model's, where it is known."""
    document = get_openapi(
        title="deepfake-triton gateway",
        version=version,
        summary="A video in, a verdict out.",
        description="The answer of `POST /v1/detect` is the object of `deepfake-triton detect --json`.",
        routes=routes,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _remove_validation_errors(document)
    schemas.update(_verdict_components())
    schemas["Problem"] = _PROBLEM
    schemas["Job"] = _JOB
    schemas["Limits"] = _LIMITS
    _parameter(document, "windows")["schema"]["anyOf"][0]["maximum"] = max_windows
    if operating_points:
        _parameter(document, "operating_point")["schema"] = {"enum": list(operating_points)}
    if has_keys:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"header": []}]
        for operations in document["paths"].values():
            for operation in operations.values():
                if "401" not in operation["responses"]:  # for probes, and those who read descriptions
                    operation["security"] = []
    return document


def _parameter(document: JsonObject, name: str) -> JsonObject:
    """Return the description of a parameter of POST /v1/detect."""
    parameters: list[JsonObject] = document["paths"]["/v1/detect"]["post"]["parameters"]
    return next(parameter for parameter in parameters if parameter["name"] == name)


def _remove_validation_errors(document: JsonObject) -> None:
    """Remove FastAPI's own answer 422: the gateway's is a problem, described where there can be one."""
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in json.dumps(operation["responses"].get("422", {})):
                del operation["responses"]["422"]


def _verdict_components() -> JsonObject:
    """Return verdict.schema.json as components: its root `Verdict`, its definitions `Verdict_<name>`."""
    text = verdict_schema().replace(f'"{_DEFINITIONS}', f'"{_COMPONENTS}Verdict_')
    root: JsonObject = json.loads(text)
    root.pop("$schema")
    definitions: JsonObject = root.pop("$defs")
    return {"Verdict": root, **{f"Verdict_{name}": value for name, value in definitions.items()}}


_PROBLEM: JsonObject = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Page about this type of problem.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What was got, what was expected, what to do."},
        "error": {"type": "string", "description": "Name of the error's type."},
    },
    "required": ["type", "title", "status", "detail", "error"],
}
_JOB: JsonObject = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "state": {"enum": ["queued", "running", "done", "failed", "canceled"]},
        "position": {**_NULLABLE_INTEGER, "description": "Place in the queue, 1 is next; null once it runs."},
        "progress": {
            "type": "object",
            "properties": {
                "windows_decoded": {"type": "integer", "minimum": 0},
                "windows_judged": {"type": "integer", "minimum": 0},
                "num_windows": {**_NULLABLE_INTEGER, "description": "Expected number; null before decoding."},
            },
            "required": ["windows_decoded", "windows_judged", "num_windows"],
            "additionalProperties": False,
        },
        "created_at": {"type": "number", "description": "Seconds since 1970, UTC."},
        "ended_at": {**_NULLABLE_NUMBER, "description": "Seconds since 1970, UTC."},
        "result": {"anyOf": [{"$ref": _COMPONENTS + "Verdict"}, {"type": "null"}]},
        "error": {"anyOf": [{"$ref": _COMPONENTS + "Problem"}, {"type": "null"}]},
    },
    "required": ["id", "state", "position", "progress", "created_at", "ended_at", "result", "error"],
    "additionalProperties": False,
}
_LIMITS: JsonObject = {
    "type": "object",
    "properties": {
        "max_upload_bytes": {"type": "integer"},
        "max_duration_seconds": {"type": "number"},
        "frames": {"type": "object", "description": "Frames of a window: the default, and the most."},
        "windows": {"type": "object", "description": "Windows of a video: the most."},
        "sampling": {"type": "array", "items": {"type": "string"}},
        "urls": {"type": "boolean", "description": "Whether videos are fetched from URLs."},
        "model": {"type": ["object", "null"], "description": "The model; null while no server answers."},
        "operating_point": {"type": ["string", "null"], "description": "Name of the default one."},
        "operating_points": {"type": "array", "items": {"$ref": _COMPONENTS + "Verdict_operating_point"}},
    },
    "required": [
        "max_upload_bytes", "max_duration_seconds", "frames", "windows", "sampling", "urls", "model",
        "operating_point", "operating_points",
    ],
    "additionalProperties": False,
}  # fmt: skip
