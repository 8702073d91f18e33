from __future__ import annotations

import asyncio
import json
import threading
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_calls import as_json, messages, without_nulls
from google.protobuf import descriptor_pb2
from paths import ROOT

from deepfake_triton.client.verdicts.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Verdict,
    VideoVerdict,
)
from deepfake_triton.gateway.grpc_service import messages as own
from deepfake_triton.gateway.grpc_service import servicer
from deepfake_triton.gateway.grpc_service.__main__ import compile_descriptors
from deepfake_triton.gateway.grpc_service.conversion import message_from_event
from deepfake_triton.gateway.jobs import events

pytestmark = pytest.mark.fast

SCHEMA = json.loads((ROOT / "client/verdicts/verdict.schema.json").read_text())
FACE = FaceVerdict(
    track=0,
    fake_probability=0.0,
    frames_observed=20,
    segments=(Segment(0.0, 0.8, 0.0),),
    box=(0, 0, 9, 9),
    face_px=9,
    sharpness=1.0,
    verdict=Verdict.REAL,
)
VERDICT = VideoVerdict(
    video="öl.mp4",
    verdict=Verdict.REAL,
    fake_probability=0.1 + 0.2,
    reason=None,
    faces=(FACE,),
    model=ModelInfo("deepfake_detector", "1", "default", "ab" * 32, 0.5),
    frames_decoded=20,
    duration_seconds=0.8,
    latency_ms=Latency(1.5, 2.5, 3.0),
)


def test_the_committed_descriptors_are_those_of_the_proto(tmp_path: Path) -> None:
    assert compile_descriptors(tmp_path / "fresh.binpb") == 0
    fresh = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "fresh.binpb").read_bytes())
    assert fresh.file[0].package == "deepfake.v1" and fresh.file[0].service[0].name == "Detector"
    assert own.committed_descriptors() == fresh, "run python -m deepfake_triton.gateway.grpc_service"


def test_the_proto_comes_with_the_package() -> None:
    folder = resources.files("deepfake_triton.gateway.grpc_service")
    assert b'syntax = "proto3"' in (folder / "detector.proto").read_bytes()


def fields_of(message: Any) -> dict[str, Any]:
    return dict(message.DESCRIPTOR.fields_by_name)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The object that a part of the schema describes, through its references and alternatives to null."""
    for alternative in schema.get("anyOf", ()):
        if alternative.get("type") != "null":
            schema = alternative
    schema = schema.get("items", schema)
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def assert_mirrors(descriptor: Any, schema: dict[str, Any], path: str = "") -> int:
    """Compare fields and keys, and those of what they hold; return the number of messages compared."""
    properties = dict(schema["properties"])
    if not path:
        del properties["error"]  # the status of the call
    assert {field.name for field in descriptor.fields} == set(properties), path or "VideoVerdict"
    compared = 1
    for field in descriptor.fields:
        inner = resolved(properties[field.name])
        assert (field.message_type is not None) == ("properties" in inner), f"{path}.{field.name}"
        if field.message_type is not None:
            compared += assert_mirrors(field.message_type, inner, f"{path}.{field.name}")
    return compared


def test_the_verdict_mirrors_the_documented_json() -> None:
    assert assert_mirrors(own.VideoVerdict.DESCRIPTOR, SCHEMA) >= 6
    words = {name for name in messages.Verdict.keys() if name != "VERDICT_UNSPECIFIED"}  # noqa: SIM118
    assert (
        words
        == {verdict.value for verdict in Verdict}
        == set(SCHEMA["properties"]["verdict"]["enum"]) - {None}
    )


def test_a_verdict_arrives_as_it_was() -> None:
    """Zeros are there, nulls are absent, and no digit is lost."""
    data = message_from_event(events.Judged(VERDICT)).verdict.SerializeToString()
    received = as_json(messages.VideoVerdict.FromString(data))
    assert received == without_nulls(VERDICT.as_dict())
    assert received["faces"][0]["segments"] == [
        {"start_seconds": 0.0, "end_seconds": 0.8, "fake_probability": 0.0}
    ]


def test_a_verdict_is_converted_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def noted(event: Any) -> Any:
        threads.append(threading.current_thread())
        return message_from_event(event)

    monkeypatch.setattr(servicer, "message_from_event", noted)
    message = asyncio.run(servicer._message_of(events.Judged(VERDICT)))
    assert message.verdict.video == VERDICT.video
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


def test_events_have_the_fields_of_their_json() -> None:
    for event, name in (
        (events.Queued(3), "queued"),
        (events.Decoded(1, 4), "decoded"),
        (events.WindowJudged(1, 4, 0.0, 0.8, 2, 0.0), "window"),
        (events.WindowJudged(2, 4, 1.0, 1.8, 0, None), "window"),
    ):
        sent = message_from_event(event)
        received = messages.DetectEvent.FromString(sent.SerializeToString())
        assert received.WhichOneof("event") == name
        assert set(fields_of(getattr(sent, name))) == set(event.as_dict())
        assert as_json(getattr(received, name)) == without_nulls(event.as_dict())


def test_values_of_numpy_are_taken() -> None:
    assert (
        message_from_event(events.WindowJudged(1, 1, 0.0, 1.0, 1, float(np.float32(0.3)))).window.num_faces
        == 1
    )
