from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from detector_calls import as_json, call, messages, refusal_of, requests_of, without_nulls

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.gateway.server import Listening
from deepfake_triton.json_object import JsonObject
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture
def line_of(published_server: TritonServer, capsys: pytest.CaptureFixture[str]) -> Any:
    """The object that `detect --json` prints for a file."""

    def detect(path: Path, *options: str) -> JsonObject:
        capsys.readouterr()
        cli.main(["detect", "--json", "--url", published_server.url, *options, str(path)])
        line: JsonObject = json.loads(capsys.readouterr().out)
        return line

    return detect


def comparable(answer: JsonObject) -> JsonObject:
    """An answer without nulls, and without the keys that differ from one run to the next."""
    return without_nulls(
        {key: value for key, value in answer.items() if key not in ("latency_ms", "video", "error")}
    )


def test_the_verdict_is_that_of_detect(
    gateway: Listening, clip_path: Path, clip_bytes: bytes, line_of: Any
) -> None:
    expected = line_of(clip_path)
    assert expected["verdict"] and expected["faces"], "an answer worth comparing"
    options = {"file_name": f"C:\\videos/{clip_path.name}", "size_bytes": len(clip_bytes)}
    *_, last = call(str(gateway.grpc), requests_of(clip_bytes, **options))
    answer = as_json(last.verdict)
    assert answer["video"] == clip_path.name
    assert set(answer["latency_ms"]) == {"decode", "infer", "total"} and answer["latency_ms"]["total"] > 0
    assert comparable(answer) == comparable(expected)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"windows": 3, "frames": 8}, ["--windows", "3", "--frames", "8"]),
        ({"sampling": "UNIFORM", "frames": 12}, ["--sampling", "uniform", "--frames", "12"]),
    ],
)
def test_options_are_those_of_detect(
    gateway: Listening, clip_path: Path, clip_bytes: bytes, line_of: Any, given: Any, options: list[str]
) -> None:
    *_, last = call(str(gateway.grpc), requests_of(clip_bytes, **given))
    assert comparable(as_json(last.verdict)) == comparable(line_of(clip_path, *options))


def test_an_operating_point_is_chosen_by_name(
    gateway: Listening, client: DeepfakeClient, clip_bytes: bytes
) -> None:
    for name in client.model().operating_points:
        *_, last = call(str(gateway.grpc), requests_of(clip_bytes, frames=5, operating_point=name))
        assert last.verdict.operating_point.name == name
    refused = refusal_of(str(gateway.grpc), requests_of(clip_bytes, operating_point="sometimes"))
    assert (refused.code, refused.error) == ("INVALID_ARGUMENT", "InvalidOption")
    assert all(name in refused.details for name in client.model().operating_points)


def test_events_come_in_order(gateway: Listening, clip_bytes: bytes) -> None:
    events = call(str(gateway.grpc), requests_of(clip_bytes, windows=3, frames=8))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "queued" and kinds[-1] == "verdict"
    assert kinds.count("decoded") == 3 and kinds.count("verdict") == 1
    windows = [event.window for event in events if event.HasField("window")]
    assert [window.windows_judged for window in windows] == [1, 2, 3]
    assert {window.num_windows for window in windows} == {3}
    (face,) = events[-1].verdict.faces
    spans = [(segment.start_seconds, segment.fake_probability) for segment in face.segments]
    assert sorted((window.start_seconds, window.fake_probability) for window in windows) == spans


@pytest.mark.parametrize("content", [b"plain text, and no video\n", b"\x89PNG\r\n\x1a\n" + b"\x00" * 64])
def test_errors_are_those_of_detect(gateway: Listening, tmp_path: Path, line_of: Any, content: bytes) -> None:
    path = tmp_path / "not a video.mp4"
    path.write_bytes(content)
    expected = line_of(path)["error"]
    refused = refusal_of(str(gateway.grpc), requests_of(content, file_name=path.name))
    assert (refused.code, refused.error) == ("INVALID_ARGUMENT", expected["type"])
    assert refused.details == expected["message"].replace(str(path), path.name)
    assert refused.retry_after_s is None


def test_twenty_calls_at_once_are_all_answered(gateway: Listening, clip_bytes: bytes) -> None:
    def verdict_of(index: int) -> JsonObject:
        requests = requests_of(clip_bytes, file_name=f"{index}.mp4", frames=2)
        *_, last = call(str(gateway.grpc), requests)
        return as_json(last.verdict)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(verdict_of, range(20)))
    assert [answer["video"] for answer in answers] == [f"{index}.mp4" for index in range(20)]
    assert answers[0]["faces"]
    assert all(comparable(answer) == comparable(answers[0]) for answer in answers)


def test_a_chunk_may_fill_a_message_and_be_empty(gateway: Listening, clip_bytes: bytes) -> None:
    chunks = (clip_bytes, b"")
    requests = [
        messages.DetectRequest(options=messages.Options(frames=5)),
        *(messages.DetectRequest(chunk=chunk) for chunk in chunks),
    ]
    *_, last = call(str(gateway.grpc), requests)
    assert last.verdict.frames_decoded == 5 and last.verdict.video == "upload"
