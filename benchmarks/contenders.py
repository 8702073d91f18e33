"""What a user would pick instead of this server, each as a call from a video to a probability."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepfake_triton.benchmarks.in_process import InProcess, in_onnxruntime, in_torch, rule_of
from deepfake_triton.benchmarks.names import (
    FASTAPI,
    FASTAPI_BATCHING,
    PROCESS,
    PROCESS_BATCHES,
    PUBLISHED,
    PUBLISHED_KEPT,
    REFERENCE,
    TORCH,
)
from deepfake_triton.benchmarks.peer_process import fastapi_judge
from deepfake_triton.benchmarks.published import published_pipeline, saved_for_torch
from deepfake_triton.benchmarks.repositories import Exported, checkpoint_of, exported
from deepfake_triton.client import DeepfakeClient, FrameBatch, FrameSelection, Transport
from deepfake_triton.contracts import FAKE_PROBABILITY
from deepfake_triton.contracts import FRAMES as FRAMES_SPEC
from deepfake_triton.errors import CheckpointError, InputError
from deepfake_triton.export.checkpoint import Checkpoint
from deepfake_triton.export.runners import TritonRunner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.video import decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer

FRAMES = 20
_PROCESS_CALLERS = 2
"""One decodes while the networks of the other compute."""
_BLS = Path(__file__).resolve().parent / "bls_model"

Judge = Callable[[Path], float]


@dataclass(frozen=True)
class Contender:
    """One way from a video to a probability."""

    name: str
    judge: Judge
    callers: int | None = None
    """At once, where that is not as many as all others have."""
    slow: bool = False
    """Takes fewer turns, each beside the reference."""
    clips_a_call: int = 1


@contextmanager
def contenders(
    repository: Path,
    also: Sequence[Path],
    servers: Sequence[tuple[str, str]],
    checkpoint: Path | None,
    published: bool,
) -> Iterator[tuple[str, list[Contender], dict[str, str]]]:
    """The reference's address, all paths, ready, the reference first, and why others are left out.

    They end with the context. `also` are repositories with the same weights in another form, `servers` names
    and addresses of running ones, which the caller answers for. Raises InputError where weights differ, a
    name stands twice, or the repository is not for ONNX Runtime.
    """
    served = exported(repository)
    if served.form.endswith("TensorRT"):
        raise InputError(f"{repository} is for TensorRT: compare an ONNX one, and name that as --also-server")
    others = [exported(path) for path in also]
    for other in others:
        if not other.same_weights(served):
            raise InputError(f"{other.repository} holds other weights than {repository}: nothing to compare")
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        url = stack.enter_context(_server_with_bls(repository))
        paths = [
            *_served(url, rule_of(served), stack),
            *(_other(other, stack) for other in others),
            *(Contender(name, _asked(address, Transport.AUTO, stack)) for name, address in servers),
            *_in_process(served),
            Contender(FASTAPI, stack.enter_context(fastapi_judge(repository, False))),
            Contender(FASTAPI_BATCHING, stack.enter_context(fastapi_judge(repository, True))),
        ]
        try:
            paths += _in_torch(served, checkpoint_of(served, checkpoint), published, stack)
        except (InputError, CheckpointError) as error:
            left_out[TORCH] = str(error)
        names = [path.name for path in paths]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"compared twice: {', '.join(sorted(twice))}; a name tells one path only")
        yield url, paths, left_out


def _served(url: str, rule: CropRule, stack: ExitStack) -> list[Contender]:
    bls = TritonRunner(url, "deepfake_bls")
    names = ("face_detector", "feature_extractor", "sequence_classifier")
    steps = InProcess(rule, *(TritonRunner(url, name) for name in names))

    def by_bls(video: Path) -> float:
        return float(bls.infer({FRAMES_SPEC.name: _frames(video).data})[FAKE_PROBABILITY.name].max())

    return [
        Contender(REFERENCE, _asked(url, Transport.AUTO, stack)),
        Contender("this server, raw gRPC", _asked(url, Transport.GRPC, stack)),
        Contender("this server, JPEG", _asked(url, Transport.JPEG, stack)),
        Contender("Triton with BLS", by_bls),
        Contender("client that orchestrates", partial(_judged_by, steps)),
    ]


def _asked(url: str, transport: Transport, stack: ExitStack) -> Judge:
    client = stack.enter_context(DeepfakeClient(url, transport=transport, timeout_s=300))

    def judge(video: Path) -> float:
        probability = client.detect(video, FrameSelection(FRAMES)).fake_probability
        return float("nan") if probability is None else probability

    return judge


def _other(other: Exported, stack: ExitStack) -> Contender:
    options = ServerOptions(other.repository, grpc_port=0, http_port=0, metrics_port=0)
    server = stack.enter_context(TritonServer(options))
    return Contender(f"this server, {other.form}", _asked(server.url, Transport.AUTO, stack))


def _in_torch(served: Exported, weights: Checkpoint, published: bool, stack: ExitStack) -> list[Contender]:
    # One caller: torch keeps an OpenMP pool for each calling thread, and two disturb each other.
    paths = [Contender(TORCH, partial(_judged_by, in_torch(served, weights)), callers=1)]
    if published:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-")))
        read = saved_for_torch(weights, folder / "model.pt")
        paths += [
            Contender(name, published_pipeline(read, FRAMES, kept), callers=1, slow=True)
            for name, kept in ((PUBLISHED, False), (PUBLISHED_KEPT, True))
        ]
    return paths


def _judged_by(process: InProcess, video: Path) -> float:
    return process.probability(_frames(video).data)


def _in_process(served: Exported) -> list[Contender]:
    same = in_onnxruntime(served)
    computing = threading.Lock()  # the networks of one clip use all cores

    def in_turn(process: InProcess, clips: int, video: Path) -> float:
        frames = [_frames(video).data for _ in range(clips)]
        with computing:
            return max(process.probabilities(frames))

    def process(name: str, judge: Judge, clips_a_call: int = 1) -> Contender:
        return Contender(name, judge, callers=_PROCESS_CALLERS, clips_a_call=clips_a_call)

    paths = [
        process(PROCESS, partial(in_turn, same, 1)),
        process(PROCESS_BATCHES, partial(in_turn, same, 4), clips_a_call=4),
    ]
    if served.form.endswith("OpenVINO"):
        paths.append(process("one process, ONNX Runtime", partial(in_turn, in_onnxruntime(served, "cpu"), 1)))
    return paths


def _frames(video: Path) -> FrameBatch:
    return decode_clip(video, FrameSelection(FRAMES)).frames


@contextmanager
def _server_with_bls(repository: Path) -> Iterator[str]:
    """A server of the repository, by links, with the model with BLS beside it."""
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        served = Path(folder) / "repository"
        served.mkdir()
        for each in repository.iterdir():
            if each.is_dir():  # without the record, which knows neither links nor the model with BLS
                (served / each.name).symlink_to(each.resolve())
        shutil.copytree(_BLS, served / "deepfake_bls")
        with TritonServer(ServerOptions(served, grpc_port=0, http_port=0, metrics_port=0)) as server:
            yield server.url
