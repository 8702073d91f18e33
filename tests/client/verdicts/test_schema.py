"""The JSON Schema of a line of `detect --json`, against lines of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np
import pytest

from deepfake_triton.client.verdicts.assembly import faces_from_answer, verdict_from_faces
from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import Latency, ModelInfo, VideoFailure, VideoVerdict
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.fast

SCHEMA = json.loads((resources.files("deepfake_triton.client.verdicts") / "verdict.schema.json").read_text())
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
CHECKED = {
    *("$schema", "$defs", "$ref", "title", "description", "type", "enum", "anyOf", "properties"),
    *("required", "additionalProperties", "items", "minimum", "maximum"),
}
FRAMES = FrameBatch(np.zeros((4, 8, 8, 3), np.uint8), np.array([1.0, 1.5, 1.75, 3.0]), 3.5)
MODEL = ModelInfo("deepfake_detector", "2", "custom", "ab" * 32, operating_point=0.6, real_at_most=0.25)


def violations(value: Any, schema: dict[str, Any], place: str = "line") -> Iterator[str]:
    """What a value breaks of the schema; only the keywords that ours uses are known."""
    assert schema.keys() <= CHECKED, f"{place}: this test does not check {schema.keys() - CHECKED}"
    if "$ref" in schema:
        yield from violations(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], place)
        return
    if "anyOf" in schema:
        if all(list(violations(value, option, place)) for option in schema["anyOf"]):
            yield f"{place}: fits none of anyOf"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    names = schema.get("type", list(TYPES))
    kinds = [TYPES[name] for name in ([names] if isinstance(names, str) else names)]
    is_unexpected = isinstance(value, bool) and bool not in kinds  # for Python, True is a number
    if not any(isinstance(value, kind) for kind in kinds) or is_unexpected:
        yield f"{place}: {value!r} is no {names}"
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{place}.{key}: missing" for key in schema.get("required", []) if key not in value)
        yield from (f"{place}.{key}: unknown" for key in value if key not in known)
        for key in known.keys() & value.keys():
            yield from violations(value[key], known[key], f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], f"{place}[{index}]")
    elif isinstance(value, int | float) and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{place}: {value} out of range"


def verdict(*probabilities: float, evidence: EvidenceRule, **more: Any) -> VideoVerdict:
    observed = np.full((max(1, len(probabilities)), 4), bool(probabilities))
    rows = np.array(probabilities or (0.0,), np.float32)[:, None]
    faces = faces_from_answer(FRAMES, rows, boxes=np.zeros((len(rows), 4, 4), np.float32), observed=observed)
    return verdict_from_faces(
        "a.mp4",
        faces,
        MODEL,
        evidence=evidence,
        frames_decoded=4,
        duration_seconds=9.0,
        latency_ms=Latency(1.0, 2.0, 3.0),
        **more,
    )


ANYTHING = EvidenceRule(min_frames=1, min_face_px=0, min_sharpness=0)
SIGNED = ContentCredentials(CredentialState.INVALID, "a", "2026-01-01T00:00:00Z", "b", True, "c")
UNSIGNED = ContentCredentials(CredentialState.NONE)
LINES = {
    "fake": verdict(0.25, 0.75, evidence=ANYTHING).as_dict(),
    "uncertain": verdict(0.5, evidence=ANYTHING).as_dict(),
    "truncated": verdict(0.125, evidence=ANYTHING, fault="cut").as_dict(),
    "no face": verdict(evidence=ANYTHING, faces_left_out=2).as_dict(),
    "rejected": verdict(0.75, evidence=EvidenceRule()).as_dict(),
    "untrained": replace(verdict(evidence=ANYTHING), model=replace(MODEL, weights="untrained")).as_dict(),
    "signed": replace(verdict(evidence=ANYTHING), content_credentials=SIGNED).as_dict(),
    "without credentials": replace(verdict(evidence=ANYTHING), content_credentials=UNSIGNED).as_dict(),
    "failure": VideoFailure("a.mp4", "NotAVideo", "no media file").as_dict(),
    "failure of a known model": VideoFailure("a.mp4", "NotAVideo", "no media file", MODEL).as_dict(),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_of_every_kind_fit(name: str) -> None:
    line = json.loads(json.dumps(LINES[name]))
    assert list(violations(line, SCHEMA)) == []
    assert list(line) == list(SCHEMA["properties"]) == SCHEMA["required"], "in the order of the documents"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"more": 1}, "line.more: unknown"),
        ({"verdict": "MAYBE"}, "line.verdict: 'MAYBE' is none of"),
        ({"fake_probability": 1.5}, "line.fake_probability: 1.5 out of range"),
        ({"frames_decoded": "4"}, "line.frames_decoded: '4' is no integer"),
        ({"latency_ms": {"decode": 1.0}}, "line.latency_ms: fits none of anyOf"),
        ({"faces": [{}]}, "line.faces[0].track: missing"),
    ],
)
def test_the_schema_refuses_what_no_line_is(change: dict[str, object], says: str) -> None:
    assert says in "\n".join(violations({**LINES["fake"], **change}, SCHEMA))


def test_every_property_is_described_and_no_other_is_allowed() -> None:
    objects = [SCHEMA, SCHEMA["properties"]["model"], *SCHEMA["$defs"].values()]
    for described in objects:
        assert described["additionalProperties"] is False
        assert set(described["required"]) == set(described["properties"])
        assert all(entry["description"] for entry in described["properties"].values())
