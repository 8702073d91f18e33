"""Broken videos and requests by the hundred: typed errors, and a server that serves the next caller."""

from __future__ import annotations

import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from deepfake_triton.client import DeepfakeClient, Verdict
from deepfake_triton.contracts import served_models
from deepfake_triton.errors import DeadlineExceeded, InputError
from deepfake_triton.preprocessing.video.clip import DecodedClip, decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

VIDEOS, REQUESTS = 500, 500
DTYPES = ("UINT8", "FP32", "INT64", "BYTES", "BOOL", "nothing")
MODELS = tuple(spec.name for spec in served_models())
NAMES = ("frames", "detections", "faces", "features", "", "fake_probability", "encoded_frames")


def mutated(content: bytes, seed: int) -> bytes:
    """The file with bytes changed, a piece cut out, doubled or lost at the end; by the seed."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    head = seed % 3 == 0  # where a container keeps its index
    for _ in range(int(rng.integers(1, 60))):
        data[int(rng.integers(2000 if head else len(data)))] = int(rng.integers(256))
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 5000))
    if seed % 4 == 1:
        del data[start : start + length]
    elif seed % 4 == 2:
        data[start:start] = data[start : start + length]
    elif seed % 4 == 3:
        del data[start:]
    return bytes(data)


def test_broken_videos_give_a_clip_or_a_typed_error(client: DeepfakeClient, clip_path: Path) -> None:
    content = clip_path.read_bytes()
    clips: list[DecodedClip] = []
    for seed in range(VIDEOS):
        try:
            clips.append(decode_clip(io.BytesIO(mutated(content, seed)), timeout_s=20))
        except (InputError, DeadlineExceeded) as error:
            assert str(error) and "\n" not in str(error)
    assert VIDEOS / 8 < len(clips) < VIDEOS, "the mutations are too mild, or too rough"
    for clip in clips[:: len(clips) // 8]:
        assert isinstance(client.detect(clip.frames).verdict, Verdict)


def broken_request(seed: int) -> service_pb2.ModelInferRequest:
    """One that does not fit its model: names, dtypes, shapes or sizes by the seed."""
    rng = np.random.default_rng(seed)

    def one_of(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    request = service_pb2.ModelInferRequest(model_name=one_of(MODELS), id=f"broken {seed}")
    for _ in range(int(rng.integers(0, 3))):
        shape = [
            int(size) for size in rng.choice([-1, 0, 1, 2, 3, 15, 32, 65, 112, 2**40], rng.integers(0, 6))
        ]
        request.inputs.add(name=one_of(NAMES), datatype=one_of(DTYPES), shape=shape)
        request.raw_input_contents.append(rng.bytes(int(rng.integers(0, 4000))))
    if rng.uniform() < 0.3:
        request.outputs.add(name=one_of(NAMES))
    return request


def resident_bytes(server: TritonServer) -> int:
    """Of tritonserver and the processes of its Python models."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[2]) == server.process.pid:  # its process group
                total += int((stat.parent / "statm").read_text().split()[1])
        except OSError:
            continue
    return total * 4096


def test_broken_requests_are_refused_one_by_one_and_cost_no_memory(
    published_server: TritonServer, client: DeepfakeClient, clip_frames: FrameBatch
) -> None:
    before = client.faces(clip_frames)
    with grpc.insecure_channel(published_server.url) as channel:
        ask = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        settled = 0
        for seed in range(REQUESTS):
            if seed == REQUESTS // 3:
                settled = resident_bytes(published_server)
            with pytest.raises(grpc.RpcError) as raised:
                ask(broken_request(seed), timeout=20)
            assert raised.value.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED)
            assert "Traceback" not in raised.value.details()
        assert resident_bytes(published_server) < 1.05 * settled
    assert published_server.process.poll() is None
    assert client.faces(clip_frames) == before
