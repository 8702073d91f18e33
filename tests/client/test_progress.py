"""Progress, operating points of one request, windows decoded elsewhere, and calls left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from listening_server import listening
from manual_sender import FRAMES, ManualSender, exchange_with, infer_reply, read_metadata

from deepfake_triton.client import (
    AsyncDeepfakeClient,
    CallsInFlight,
    DeepfakeClient,
    DetectionProgress,
    FrameBatch,
    FrameSelection,
    ModelInfo,
    Transport,
)
from deepfake_triton.errors import InvalidOption, ServerError
from deepfake_triton.preprocessing.video.windows import VideoWindows
from deepfake_triton.serving.server import TritonServer

MODEL = ModelInfo(
    "deepfake_detector",
    "1",
    "default",
    "ab" * 32,
    operating_point=0.5,
    operating_points={"balanced": 0.5, "conservative": 0.9},
    operating_point_name="balanced",
    real_at_most=0.35,
    real_borders={"balanced": 0.35},
)


@pytest.mark.fast
def test_a_model_at_another_operating_point() -> None:
    assert MODEL.at("balanced") == MODEL
    other = MODEL.at("conservative")
    assert other.thresholds.as_dict() == {"name": "conservative", "real_at_most": 0.9, "fake_at_least": 0.9}
    assert other.at("balanced") == MODEL
    with pytest.raises(InvalidOption, match=r"'x': the model has balanced, conservative; choose one"):
        MODEL.at("x")


@pytest.mark.fast
def test_an_unknown_operating_point_is_told_before_any_frame_is_sent() -> None:
    client = exchange_with()
    sender = ManualSender(client.detect_window(FRAMES, client.deadline(), "nowhere"))
    with pytest.raises(InvalidOption, match="'nowhere': the model has"):
        read_metadata(sender)


@pytest.mark.fast
def test_a_window_is_judged_at_the_operating_point_of_its_request() -> None:
    client = exchange_with()
    sender = read_metadata(ManualSender(client.detect_window(FRAMES, client.deadline(), "default")))
    assert sender.call.method == "ModelInfer"
    assert sender.answer(infer_reply()).result.model.operating_point_name == "default"


@pytest.mark.fast
@pytest.mark.parametrize(("version", "waits"), [("2.51.0", True), ("2.57.0", False)])
def test_calls_left_behind_can_be_awaited(version: str, waits: bool) -> None:
    async def cancel(url: str, release: threading.Event) -> None:
        client, calls = AsyncDeepfakeClient(url, max_in_flight=1, transport=Transport.GRPC), CallsInFlight()
        await calls.drained()
        tasks = [asyncio.create_task(client.detect(FRAMES, calls=calls)) for _ in range(2)]
        await asyncio.to_thread(listener.asked.wait, 20)
        while len(calls) > 1:  # the other is about to wait for a slot
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        drained = asyncio.create_task(calls.drained())
        await asyncio.wait({drained}, timeout=0.3 if waits else 10)
        assert drained.done() is not waits
        release.set()
        await asyncio.wait_for(drained, 5)
        assert len(calls) == 0
        with pytest.raises(ServerError):
            await client.faces(FRAMES, timeout_s=0.1)
        await client.close()

    with listening(version) as (url, listener):
        asyncio.run(cancel(url, listener.release))


class Elsewhere:
    """The windows of a file under another name, with what a child process would tell."""

    def __init__(self, path: Path, selection: FrameSelection) -> None:
        self._windows = VideoWindows(path, selection)
        self.name = "upload.mp4"
        self.num_expected, self.duration_seconds, self.fault = 1, 0.0, "cut"

    def __iter__(self) -> Iterator[FrameBatch]:
        yield from self._windows
        self.duration_seconds = 12.5


@pytest.mark.triton
def test_both_clients_tell_each_window_twice(published_server: TritonServer, clip_path: Path) -> None:
    selection = FrameSelection(num_frames=10, windows=3)
    told: list[DetectionProgress] = []
    with DeepfakeClient(published_server.url) as client:
        expected = client.detect(clip_path, selection)
        verdict = client.detect(clip_path, selection, operating_point="default", on_progress=told.append)
    assert verdict.faces[0].segments == expected.faces[0].segments
    assert [(now.windows_decoded, now.windows_judged) for now in told] == [
        (1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (3, 3)
    ]  # fmt: skip
    assert {now.num_windows for now in told} == {3}
    judged = [now for now in told if now.faces is not None]
    assert [now.faces[0].segments[0] for now in judged if now.faces] == list(verdict.faces[0].segments)
    assert [(now.start_seconds, now.end_seconds) for now in judged] == [
        (segment.start_seconds, segment.end_seconds) for segment in verdict.faces[0].segments
    ]

    told_in_loop: list[DetectionProgress] = []

    async def detect() -> None:
        def add(progress: DetectionProgress) -> None:
            asyncio.get_running_loop()  # raises in any other thread
            told_in_loop.append(progress)

        async with AsyncDeepfakeClient(published_server.url) as client:
            await client.detect(clip_path, selection, on_progress=add)

    asyncio.run(detect())
    strip = [dataclasses.replace(now, faces=None) for now in told]
    assert [dataclasses.replace(now, faces=None) for now in told_in_loop] == strip


@pytest.mark.triton
def test_windows_decoded_elsewhere_are_judged_alike(client: DeepfakeClient, clip_path: Path) -> None:
    selection = FrameSelection(num_frames=10, windows=2)
    verdict = client.detect(Elsewhere(clip_path, selection))
    expected = client.detect(clip_path, selection)
    assert (verdict.video, verdict.duration_seconds, verdict.fault) == ("upload.mp4", 12.5, "cut")
    assert verdict.faces == expected.faces and verdict.frames_decoded == 20
    assert np.array_equal(verdict.faces[0].portrait, expected.faces[0].portrait)


@pytest.mark.triton
def test_an_unknown_operating_point_names_the_known_ones(client: DeepfakeClient, clip_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"'strict': the model has .*default"):
        client.detect(clip_path, operating_point="strict")
