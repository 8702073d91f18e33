"""This server against what a user would pick instead: same clips, same weights, same cores, by turns."""

from __future__ import annotations

import http.client
import json
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient import grpc

from deepfake_triton.benchmarks.in_process import InProcess
from deepfake_triton.benchmarks.published import published_pipeline
from deepfake_triton.benchmarks.samples import Samples, by_turns, ratio_of
from deepfake_triton.client import DeepfakeClient, FrameBatch, FrameSelection, Transport
from deepfake_triton.errors import DeepfakeError, InputError
from deepfake_triton.export.default_checkpoint import default_checkpoint
from deepfake_triton.export.runners import TorchRunner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.video import decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer

REFERENCE = "this server, automatic transport"
_BLS = Path(__file__).resolve().parent / "bls_model"
_START_S = 120.0
_FRAMES = 20

Judge = Callable[[Path], float]


@dataclass(frozen=True)
class Contender:
    """One way from a video to a probability; `concurrent` ones take several callers at once."""

    name: str
    judge: Judge
    concurrent: bool = True


def compare(
    repository: Path, video: Path, rounds: int, seconds: float, callers: int, published: bool
) -> dict[str, Any]:
    """Latency with one caller and throughput with `callers`, each path alternating with all others.

    A path whose verdict differs from the reference's is reported without a ratio. Raises InputError for a
    video without a face.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-")))
        served = _with_bls(repository, folder / "repository")
        server = stack.enter_context(
            TritonServer(ServerOptions(served, grpc_port=0, http_port=0, metrics_port=0))
        )
        paths = _paths(server, repository, stack, published)
        probabilities = {path.name: path.judge(video) for path in paths}
        reference = probabilities[REFERENCE]
        if math.isnan(reference):
            raise InputError(f"{video}: shows no face, so that there is nothing to compare")
        point = _operating_point(server.url)
        agree = {
            name: not math.isnan(value) and (value >= point) == (reference >= point)
            for name, value in probabilities.items()
        }
        slow = {path.name for path in paths if path.name.startswith("published")}
        latency = by_turns(
            {path.name: partial(path.judge, video) for path in paths if path.name not in slow},
            rounds,
            warm_up=2,
        )
        few = max(3, rounds // 4)
        for path in (each for each in paths if each.name in slow):
            pair = {path.name: partial(path.judge, video), REFERENCE: partial(paths[0].judge, video)}
            turns = by_turns(pair, few, warm_up=1)
            latency[path.name] = turns[path.name]
            latency[f"{REFERENCE} beside {path.name}"] = turns[REFERENCE]
        throughput = _throughputs(
            [path for path in paths if path.concurrent], video, callers, seconds, rounds
        )
    return {
        "video": video.name,
        "frames": _FRAMES,
        "callers": callers,
        "paths": {
            path.name: {
                "probability": round(probabilities[path.name], 4),
                "same_verdict": agree[path.name],
                "latency": latency[path.name].as_dict(),
                **_ratios(path.name, agree[path.name], latency, throughput),
            }
            for path in paths
        },
    }


def _ratios(
    name: str, agrees: bool, latency: dict[str, Samples], throughput: dict[str, list[float]]
) -> dict[str, Any]:
    """How many times as fast the reference is, where the answers are the same."""
    beside = latency.get(f"{REFERENCE} beside {name}", latency[REFERENCE])
    found: dict[str, Any] = {}
    if agrees and name != REFERENCE:
        ratio = ratio_of(latency[name], beside)
        found["reference_is_faster"] = {**ratio.as_dict(), "text": ratio.text}
    if name in throughput:
        own, reference = throughput[name], throughput[REFERENCE]
        found["throughput_a_second"] = [round(value, 3) for value in own]
        if agrees and name != REFERENCE:
            ratio = ratio_of(Samples(REFERENCE, tuple(reference)), Samples(name, tuple(own)))
            found["reference_throughput"] = {**ratio.as_dict(), "text": ratio.text}
    return found


def _paths(server: TritonServer, repository: Path, stack: ExitStack, published: bool) -> list[Contender]:
    selection = FrameSelection(_FRAMES)

    def served(transport: Transport) -> Judge:
        client = stack.enter_context(DeepfakeClient(server.url, transport=transport, timeout_s=300))
        return lambda video: _highest(client.detect(video, selection).fake_probability)

    in_process = InProcess(repository)
    torch_process = InProcess(repository, TorchRunner(default_checkpoint()))
    connection = stack.enter_context(grpc.InferenceServerClient(server.url))
    paths = [
        Contender(REFERENCE, served(Transport.AUTO)),
        Contender("this server, raw gRPC", served(Transport.GRPC)),
        Contender("this server, JPEG", served(Transport.JPEG)),
        Contender("Triton with BLS", lambda video: _bls(connection, _frames(video))),
        Contender(
            "client that orchestrates",
            lambda video: _orchestrated(connection, in_process.rule, _frames(video)),
        ),
        Contender(
            "one process, same runtime", lambda video: in_process.probability(_frames(video).data), False
        ),
        Contender(
            "one process, torch eager", lambda video: torch_process.probability(_frames(video).data), False
        ),
        Contender("FastAPI", stack.enter_context(_fastapi(repository, False))),
        Contender("FastAPI, micro-batching", stack.enter_context(_fastapi(repository, True))),
    ]
    if published:
        side = in_process.rule.side
        paths += [
            Contender("published pipeline", published_pipeline(side, _FRAMES, keep_model=False), False),
            Contender(
                "published pipeline, model kept", published_pipeline(side, _FRAMES, keep_model=True), False
            ),
        ]
    return paths


def _frames(video: Path) -> FrameBatch:
    return decode_clip(video, FrameSelection(_FRAMES)).frames


def _highest(probability: float | None) -> float:
    return float("nan") if probability is None else probability


def _bls(connection: grpc.InferenceServerClient, frames: FrameBatch) -> float:
    tensor = grpc.InferInput("frames", list(frames.data.shape), "UINT8")
    tensor.set_data_from_numpy(frames.data)
    answer = connection.infer(
        "deepfake_bls", [tensor], outputs=[grpc.InferRequestedOutput("fake_probability")]
    )
    return float(answer.as_numpy("fake_probability").max())


def _orchestrated(connection: grpc.InferenceServerClient, rule: CropRule, frames: FrameBatch) -> float:
    def ask(model: str, name: str, array: npt.NDArray[Any], output: str) -> npt.NDArray[Any]:
        kind = {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name]
        tensor = grpc.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        answer = connection.infer(model, [tensor], outputs=[grpc.InferRequestedOutput(output)])
        return np.asarray(answer.as_numpy(output))

    detections = ask("face_detector", "frames", frames.data, "detections")
    tracked = faces_from_detections(frames.data, detections, rule)
    features = ask("feature_extractor", "faces", tracked.faces, "features")
    return float(ask("sequence_classifier", "features", features, "fake_probability").max())


@contextmanager
def _fastapi(repository: Path, micro_batching: bool) -> Iterator[Judge]:
    """A service in a process of its own, asked over HTTP with the video file."""
    port = _free_port()
    command = [sys.executable, "-m", "deepfake_triton.benchmarks.fastapi_service", str(repository), str(port)]
    process = subprocess.Popen([*command, *(["--micro-batching"] if micro_batching else [])])
    local = threading.local()

    def judge(video: Path) -> float:
        connection = getattr(local, "connection", None) or http.client.HTTPConnection(
            "127.0.0.1", port, timeout=300
        )
        local.connection = connection
        connection.request("POST", "/judge", video.read_bytes())
        return float(json.loads(connection.getresponse().read())["fake_probability"])

    try:
        _wait_for(port, process)
        yield judge
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/openapi.json")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.2)
    raise DeepfakeError("the FastAPI service to compare with did not start; its reason stands above")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _throughputs(
    paths: list[Contender], video: Path, callers: int, seconds: float, rounds: int
) -> dict[str, list[float]]:
    """Clips a second in each turn of each path."""
    found: dict[str, list[float]] = {path.name: [] for path in paths}
    for number in range(max(2, rounds // 4)):
        shift = number % len(paths)
        for path in paths[shift:] + paths[:shift]:
            found[path.name].append(_throughput(path.judge, video, callers, seconds))
    return found


def _throughput(judge: Judge, video: Path, callers: int, seconds: float) -> float:
    answered, lock = [0], threading.Lock()
    began = time.monotonic()

    def ask() -> None:
        while time.monotonic() < began + seconds:
            judge(video)
            with lock:
                answered[0] += 1

    with ThreadPoolExecutor(callers) as pool:
        for job in [pool.submit(ask) for _ in range(callers)]:
            job.result()
    return answered[0] / (time.monotonic() - began)


def _operating_point(url: str) -> float:
    with DeepfakeClient(url) as client:
        return client.model().operating_point


def _with_bls(repository: Path, target: Path) -> Path:
    """The repository, by links, and the model with BLS beside it."""
    target.mkdir()
    for each in repository.iterdir():
        (target / each.name).symlink_to(each.resolve())
    shutil.copytree(_BLS, target / "deepfake_bls")
    return target
