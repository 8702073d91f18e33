from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from deepfake_triton.gateway.rest import detect, jobs, service_info
from deepfake_triton.gateway.rest.openapi import openapi_of

pytestmark = pytest.mark.fast

ROUTES = [*detect.router.routes, *jobs.router.routes, *service_info.router.routes]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of the REST API."""
    return openapi_of(ROUTES, "1.0", has_keys=False, max_windows=77)


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """The schema of `detect --json`."""
    folder = resources.files("deepfake_triton.client.verdicts")
    schema: dict[str, Any] = json.loads(folder.joinpath("verdict.schema.json").read_text())
    return schema


def inlined(schema: Any, root: Any) -> Any:
    """A schema with its references replaced by what they point to."""
    if isinstance(schema, list):
        return [inlined(part, root) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return inlined(target, root)
    return {key: inlined(value, root) for key, value in schema.items() if key not in ("$defs", "$schema")}


def test_its_verdict_is_the_published_schema(document: dict[str, Any], published: dict[str, Any]) -> None:
    answer = document["paths"]["/v1/detect"]["post"]["responses"]["200"]["content"]["application/json"]
    assert inlined(answer["schema"], document) == inlined(published, published)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    inlined(document, document)
    assert "$defs" not in json.dumps(document)


def test_only_what_changes_the_judgement_can_be_asked(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/detect"]["post"]
    query = {part["name"] for part in operation["parameters"] if part["in"] == "query"}
    assert query == {"frames", "windows", "sampling", "operating_point"}
    assert {"application/octet-stream", "multipart/form-data"} <= set(operation["requestBody"]["content"])
    failures = {status for status in operation["responses"] if not status.startswith("2")}
    assert failures == {"400", "401", "403", "409", "413", "415", "422", "429", "502", "503", "504", "507"}


def test_it_says_how_many_windows_may_be_asked_for(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/v1/detect"]["post"]["parameters"]
    (windows,) = (part["schema"] for part in parameters if part["name"] == "windows")
    (number,) = (choice for choice in windows["anyOf"] if choice["type"] == "integer")
    assert (number["minimum"], number["maximum"]) == (1, 77)


def test_it_names_the_operating_points_of_a_known_model() -> None:
    known = openapi_of(ROUTES, "1.0", has_keys=False, max_windows=77, operating_points=("balanced", "strict"))
    (parameter,) = (
        part
        for part in known["paths"]["/v1/detect"]["post"]["parameters"]
        if part["name"] == "operating_point"
    )
    assert parameter["schema"] == {"enum": ["balanced", "strict"]} and not parameter["required"]


def test_it_says_what_needs_a_key(document: dict[str, Any]) -> None:
    assert "security" not in document
    keyed = openapi_of(ROUTES, "1.0", has_keys=True, max_windows=77)
    assert set(keyed["components"]["securitySchemes"]) == {"bearer", "header"}
    open_to_all = {
        path
        for path, operations in keyed["paths"].items()
        for each in operations.values()
        if each.get("security") == []
    }
    assert open_to_all == {"/healthz", "/readyz", "/v1/verdict.schema.json", "/problems/{name}"}
