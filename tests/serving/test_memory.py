"""Large and hostile requests: a typed refusal, and memory that does not grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import settled
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from deepfake_triton.client import DeepfakeClient, FrameBatch
from deepfake_triton.contracts import MAX_CLIP_PIXELS
from deepfake_triton.preprocessing.jpeg import encode_frames
from deepfake_triton.serving.server import ServerOptions, TritonServer

MIB = 2**20
DTYPES = {np.dtype(np.uint8): "UINT8", np.dtype(np.float32): "FP32", np.dtype(np.object_): "BYTES"}
LARGEST_CLIP = np.broadcast_to(np.uint8(0), (8, 4096, 4096, 3))


@pytest.fixture
def connection(published_server: TritonServer) -> Iterator[grpc.InferenceServerClient]:
    with grpc.InferenceServerClient(published_server.url) as connected:
        yield connected


def ask(connection: grpc.InferenceServerClient, model: str, **arrays: np.ndarray) -> grpc.InferResult:
    inputs = []
    for name, array in arrays.items():
        inputs.append(grpc.InferInput(name, list(array.shape), DTYPES[array.dtype]))
        inputs[-1].set_data_from_numpy(np.ascontiguousarray(array))
    return connection.infer(model, inputs)


def refusal(connection: grpc.InferenceServerClient, model: str, **arrays: np.ndarray) -> str:
    """Triton's words, of a request that it has to refuse as the caller's fault."""
    with pytest.raises(InferenceServerException) as caught:
        ask(connection, model, **arrays)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT", caught.value
    return str(caught.value.message())


def processes(server: TritonServer) -> list[Path]:
    """In /proc: tritonserver, then its Python processes."""
    found = [Path("/proc") / str(server.process.pid)]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(errors="replace").rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == server.process.pid:
            found.append(stat.parent)
    return found


def resident_bytes(process: Path) -> int:
    """A process's own memory, without what it shares."""
    lines = (process / "status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def memory_bytes(server: TritonServer) -> int:
    """What tritonserver and its Python processes hold, shared regions counted once."""
    regions = Path("/dev/shm").glob(f"{server.shared_memory_prefix}*")
    return sum(map(resident_bytes, processes(server))) + sum(512 * each.stat().st_blocks for each in regions)


def detections(frames: int, *boxes: tuple[float, ...]) -> np.ndarray:
    table = np.zeros((frames, 32, 15), np.float32)
    table[:, : len(boxes), :4] = np.array(boxes, np.float32).reshape(-1, 4)
    table[:, : len(boxes), 4] = 0.9
    return table


@pytest.mark.triton
def test_a_clip_beyond_the_contract_is_refused_while_others_are_answered(
    published_server: TritonServer,
    connection: grpc.InferenceServerClient,
    *,
    client: DeepfakeClient,
    clip_frames: FrameBatch,
) -> None:
    """[8, 4096, 4096, 3] once took 12 GB and was killed by the kernel."""
    few = FrameBatch(clip_frames.data[:4], clip_frames.pts_seconds[:4], 1.0)
    expected = client.faces(few)
    ask(connection, "deepfake_detector", frames=np.zeros((2, 4096, 4096, 3), np.uint8))
    before = memory_bytes(published_server) // MIB
    held: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        while len(held) < 2 or (held[-1] > max(held[:-1]) + 32 and len(held) < 7):
            refused = pool.submit(refusal, connection, "deepfake_detector", frames=LARGEST_CLIP)
            while not refused.done():
                assert client.faces(few) == expected
            said = refused.result()
            assert str(LARGEST_CLIP.size) in said and str(3 * MAX_CLIP_PIXELS) in said
            held.append(settled(lambda: memory_bytes(published_server) // (16 * MIB)) * 16)
    print(f"{before} MiB before, {held} after each refused request of 384 MiB")
    assert held[-1] <= max(held[:-1]) + 32, "a plateau: malloc keeps pages, but no request stays"
    assert held[-1] - before < 2 * 384, held


@pytest.mark.triton
def test_every_step_bounds_what_anyone_may_send_it(connection: grpc.InferenceServerClient) -> None:
    tall = np.zeros((1, 4097, 16, 3), np.uint8)
    assert "at most 4096 px a side" in refusal(
        connection, "face_tracker", frames=tall, detections=detections(1)
    )
    assert str(MAX_CLIP_PIXELS) in refusal(
        connection, "face_tracker", frames=LARGEST_CLIP[:5], detections=detections(5)
    )
    crops = np.zeros((1, 32 * 64 + 1, 112, 112, 3), np.uint8)
    assert f"at most {32 * 64 * 112 * 112 * 3}" in refusal(connection, "feature_extractor", faces=crops)
    assert f"at most {64 * 112 * 112 * 3}" in refusal(connection, "feature_extractor", faces=crops[:, :65])
    features = np.zeros((1, 65, 2048), np.float32)
    assert f"at most {64 * 2048}" in refusal(connection, "sequence_classifier", features=features)
    (file,) = encode_frames(np.zeros((1, 8, 8, 3), np.uint8))
    scan = file[file.index(b"\xff\xda") : -2]
    bomb = np.array([file[:-2] + 100 * scan + file[-2:]], object)
    for model in ("frame_decoder", "deepfake_detector_jpeg"):
        assert "101 scans, at most 16" in refusal(connection, model, encoded_frames=bomb)


@pytest.mark.triton
@pytest.mark.parametrize(
    ("shape", "box", "says"),
    [
        ((4, 64, 64, 3), (0, 0, 1e30, 1e30), "got a box at 1e+30 px"),
        ((4, 0, 64, 3), (0, 0, 10, 10), "no side of 0"),
        ((0, 64, 64, 3), (0, 0, 10, 10), "no side of 0"),
        ((65, 4, 4, 3), (0, 0, 10, 10), "expected 1…64"),
    ],
)
def test_hostile_boxes_and_frames_are_the_callers_fault(
    connection: grpc.InferenceServerClient, *, shape: tuple[int, ...], box: tuple[float, ...], says: str
) -> None:
    frames = np.zeros(shape, np.uint8)
    assert says in refusal(connection, "face_tracker", frames=frames, detections=detections(len(frames), box))
    if len(frames) == 4 and not frames.size:
        assert says in refusal(connection, "deepfake_detector", frames=frames)


@pytest.mark.triton
def test_a_small_request_cannot_keep_the_tracker_busy(connection: grpc.InferenceServerClient) -> None:
    """Frames of 4 × 4 px with boxes of 16,000: once 11 s for 2.7 kB, and hours for 172 kB."""
    frames = np.zeros((64, 16, 16, 3), np.uint8)
    boxes = [(-16000.0 + 500 * k, -16000.0, 16000.0, 16000.0 - 500 * k) for k in range(32)]
    began = time.monotonic()
    answer = ask(connection, "face_tracker", frames=frames, detections=detections(64, *boxes))
    assert time.monotonic() - began < 6
    assert answer.as_numpy("boxes").max() <= 16


@pytest.mark.triton
def test_large_frames_are_detected_in_little_memory(
    published_server: TritonServer, connection: grpc.InferenceServerClient
) -> None:
    """20 frames of 1080p once took 4.1 GB."""
    peaks: dict[Path, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in stubs:
                peaks[process] = max(peaks.get(process, 0), resident_bytes(process))
            time.sleep(0.005)

    stubs = processes(published_server)[1:]
    before = {process: resident_bytes(process) for process in stubs}
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        answer = ask(connection, "deepfake_detector", frames=np.zeros((20, 1080, 1920, 3), np.uint8))
    finally:
        done.set()
        watching.join()
    assert not answer.as_numpy("observed").any()
    frames_bytes = 20 * 1080 * 1920 * 3
    assert max(peaks[process] - before[process] for process in stubs) < frames_bytes + 400 * MIB


def plateau(
    server: TritonServer, frames: np.ndarray, *, clips: int, sizes: int, longest_px: int
) -> list[int]:
    """Memory in MiB after each quarter of `clips` clips of so many different sizes and lengths."""
    chosen = np.random.default_rng(0)
    kinds = [
        (int(chosen.integers(1, 4)), *map(int, chosen.integers(64, longest_px, 2))) for _ in range(sizes)
    ]
    held = []
    with grpc.InferenceServerClient(server.url) as connection:
        for index in range(clips):
            count, height, width = kinds[int(chosen.integers(sizes)) if index >= sizes else index]
            clip = np.stack([cv2.resize(frame, (width, height)) for frame in frames[:count]])
            ask(connection, "deepfake_detector", frames=clip)
            if 4 * (index + 1) % clips == 0:
                held.append(memory_bytes(server) // MIB)
    return held


@pytest.mark.triton
def test_memory_does_not_grow_with_frame_sizes(
    published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    held = plateau(published_server, clip_frames.data, clips=200, sizes=50, longest_px=400)
    assert held[-1] < 1.05 * held[0], held


@pytest.mark.slow
@pytest.mark.parametrize("repository", ["published_repository", "default_repository"])
def test_memory_has_a_plateau_over_500_frame_sizes(
    repository: str, request: pytest.FixtureRequest, clip_frames: FrameBatch
) -> None:
    """By ONNX Runtime's own kernels, and by OpenVINO's."""
    options = ServerOptions.on_free_ports(request.getfixturevalue(repository))
    with TritonServer(options) as server:
        held = plateau(server, clip_frames.data, clips=1000, sizes=500, longest_px=640)
    print(f"{repository}: {held} MiB after each quarter")
    assert held[-1] < 1.05 * held[0], held


@pytest.mark.triton
def test_usual_clips_do_not_grow_the_regions_of_the_steps(published_repository: Path) -> None:
    """Growing under load, they can end Triton; and what no clip has used costs no memory."""
    clips = [
        FrameBatch(np.full((frames, 640, 640, 3), frames, np.uint8), np.arange(frames) / 25, frames / 25)
        for frames in (20, 15, 19, 12)
    ]
    with (
        TritonServer(ServerOptions.on_free_ports(published_repository)) as server,
        DeepfakeClient(server.url, timeout_s=120) as asking,
        ThreadPoolExecutor(len(clips)) as pool,
    ):
        regions = sorted(Path("/dev/shm").glob(f"{server.shared_memory_prefix}*"))
        before = [region.stat() for region in regions]
        assert before and all(512 * region.st_blocks <= 16 * MIB < region.st_size for region in before)
        assert list(pool.map(asking.faces, clips)) == [()] * len(clips)
        assert [region.stat().st_size for region in regions] == [region.st_size for region in before]
