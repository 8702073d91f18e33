"""Callers in this process and in others, on a real server."""

from __future__ import annotations

import psutil
import pytest

from deepfake_triton.benchmarks.measure.load_generator import closed_loop
from deepfake_triton.benchmarks.measure.load_points import ClosedLoopPoint
from deepfake_triton.client import FrameBatch, Transport
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

FRAMES = 4


@pytest.mark.parametrize("transport", [Transport.SHARED_MEMORY, Transport.GRPC])
def test_callers_in_other_processes_are_all_counted_and_end(
    published_server: TritonServer, clip_frames: FrameBatch, transport: Transport
) -> None:
    before = {child.pid for child in psutil.Process().children()}
    point = closed_loop(
        published_server.url,
        FrameBatch(clip_frames.data[:FRAMES], clip_frames.pts_seconds[:FRAMES], 0.2),
        callers=3,
        seconds=1.5,
        transport=transport,
        server_pid=published_server.process.pid,
        processes=2,
    )
    assert (point.callers, point.refused) == (3, 0)
    answered = len(point.samples_ms)
    assert answered >= 3 and len(point.warm_up_ms) >= 3
    frames = sum(size * count for size, count in point.batches["face_detector"].items())
    assert frames == FRAMES * answered, (
        "no request is lost between the processes, and none of the warm-up counts"
    )
    assert 0 < point.clips_per_second <= answered / 1.5
    assert point.usage["client"].cpu_s > 0 and point.usage["server"].cpu_s > 0
    assert ClosedLoopPoint.from_json(point.to_json()) == point
    left = [child for child in psutil.Process().children() if child.pid not in before]
    names = [" ".join(child.cmdline()) for child in left]
    assert not [name for name in names if "spawn_main" in name]
