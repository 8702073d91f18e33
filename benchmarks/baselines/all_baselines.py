"""Baselines: what a user would run instead of this server, as calls from a video to a probability."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deepfake_triton.arrays import Frames
from deepfake_triton.benchmarks.baselines.baseline import Baseline, Predictor
from deepfake_triton.benchmarks.baselines.detect_folder import CLIPS, DetectFolder
from deepfake_triton.benchmarks.baselines.fastapi_process import fastapi_predictor
from deepfake_triton.benchmarks.baselines.in_process import onnxruntime_pipeline, torch_pipeline
from deepfake_triton.benchmarks.baselines.labels import (
    DETECT,
    FASTAPI,
    FASTAPI_BATCHING,
    PROCESS,
    PROCESS_BATCHES,
    PUBLISHED,
    PUBLISHED_KEPT,
    REFERENCE,
    TORCH,
)
from deepfake_triton.benchmarks.baselines.published_pipeline import published_predictor, save_for_torch
from deepfake_triton.benchmarks.baselines.repositories import (
    ServedVersion,
    load_checkpoint,
    read_served_version,
)
from deepfake_triton.client import DeepfakeClient, FrameSelection, Transport
from deepfake_triton.contracts import DEFAULT_FRAMES, FAKE_PROBABILITY, FRAMES
from deepfake_triton.errors import CheckpointError, InputError
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.local_pipeline import LocalPipeline
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.triton_runner import TritonRunner
from deepfake_triton.models.stages import MODEL_NAMES, Stages
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer

_PROCESS_CALLERS = 2
"""One decodes while the networks of the other compute."""
_CLIPS_PER_BATCH = 4
_TIMEOUT_S = 300.0
_BLS = Path(__file__).resolve().parents[1] / "bls_model"


@dataclass(frozen=True)
class OpenBaselines:
    """Paths that are ready to be called, the reference first."""

    url: str
    """Address of the reference server."""
    paths: tuple[Baseline, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Reason of each missing baseline, by its name."""


@contextmanager
def open_baselines(
    repository: Path,
    *,
    also: Sequence[Path] = (),
    servers: Sequence[tuple[str, str]] = (),
    checkpoint: Path | None = None,
    published: bool = True,
) -> Iterator[OpenBaselines]:
    """Start the reference server and all baselines; they end with the context.

    `also` are repositories of the same weights in another form, `servers` names and addresses of running
    servers, whose weights are not checked. Raises InputError where weights differ, a name stands twice, or
    the repository is not for ONNX Runtime.
    """
    served = read_served_version(repository)
    if served.form.endswith("TensorRT"):
        raise InputError(f"{repository} is for TensorRT: compare an ONNX one, and name that as --also-server")
    others = [read_served_version(path) for path in also]
    for other in others:
        if not other.has_weights_of(served):
            raise InputError(f"{other.repository} holds other weights than {repository}: nothing to compare")
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        url = stack.enter_context(_server_with_bls(repository))
        paths = [
            *_this_server(url, served, stack),
            *(_other_form(other, stack) for other in others),
            *(Baseline(name, _server_predictor(address, Transport.AUTO, stack)) for name, address in servers),
            *_in_process(served),
            Baseline(FASTAPI, stack.enter_context(fastapi_predictor(repository, micro_batching=False))),
            Baseline(
                FASTAPI_BATCHING, stack.enter_context(fastapi_predictor(repository, micro_batching=True))
            ),
        ]
        try:
            paths += _in_torch(served, load_checkpoint(served, checkpoint), stack, published=published)
        except (InputError, CheckpointError) as error:
            left_out[TORCH] = str(error)
        names = [path.name for path in paths]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"compared twice: {', '.join(sorted(twice))}; a name tells one path only")
        yield OpenBaselines(url, tuple(paths), left_out)


def _this_server(url: str, served: ServedVersion, stack: ExitStack) -> list[Baseline]:
    bls = TritonRunner(url, "deepfake_bls")
    stages: Stages[Runner] = MODEL_NAMES.map(lambda name: TritonRunner(url, name))
    pipeline = LocalPipeline(stages, served.metadata.crop_rule, served.detection_interval)

    def predict_by_bls(video: Path) -> float:
        return float(bls.infer({FRAMES.name: _decode(video)})[FAKE_PROBABILITY.name].max())

    command = stack.enter_context(DetectFolder(url))
    paths = [
        Baseline(REFERENCE, _server_predictor(url, Transport.AUTO, stack)),
        Baseline("this server, raw gRPC", _server_predictor(url, Transport.GRPC, stack)),
        Baseline("this server, JPEG", _server_predictor(url, Transport.JPEG, stack)),
        Baseline("client that orchestrates", partial(_predict_locally, pipeline)),
        Baseline(
            DETECT,
            command.predict,
            callers=1,
            clips_per_call=CLIPS,
            cpu_seconds_per_clip=command.cpu_seconds_per_clip,
        ),
    ]
    if served.detection_interval == 1:  # the BLS model gives the detector every frame
        paths.insert(3, Baseline("Triton with BLS", predict_by_bls))
    return paths


def _server_predictor(url: str, transport: Transport, stack: ExitStack) -> Predictor:
    client = stack.enter_context(DeepfakeClient(url, transport=transport, timeout_s=_TIMEOUT_S))

    def predict(video: Path) -> float:
        probability = client.detect(video, FrameSelection(DEFAULT_FRAMES)).fake_probability
        return float("nan") if probability is None else probability

    return predict


def _other_form(other: ServedVersion, stack: ExitStack) -> Baseline:
    server = stack.enter_context(TritonServer(ServerOptions.on_free_ports(other.repository)))
    return Baseline(f"this server, {other.form}", _server_predictor(server.url, Transport.AUTO, stack))


def _in_torch(
    served: ServedVersion, checkpoint: Checkpoint, stack: ExitStack, *, published: bool
) -> list[Baseline]:
    # One caller: torch keeps an OpenMP pool for each calling thread, and two disturb each other.
    paths = [Baseline(TORCH, partial(_predict_locally, torch_pipeline(served, checkpoint)), callers=1)]
    if published:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-")))
        load = save_for_torch(checkpoint, folder / "model.pt")
        paths += [
            Baseline(
                name,
                published_predictor(load, frames=DEFAULT_FRAMES, keep_model=keep_model),
                callers=1,
                slow=True,
                is_two_way=True,
            )
            for name, keep_model in ((PUBLISHED, False), (PUBLISHED_KEPT, True))
        ]
    return paths


def _in_process(served: ServedVersion) -> list[Baseline]:
    pipeline = onnxruntime_pipeline(served)
    computing = threading.Lock()  # the networks of one clip use all cores

    def predict(pipeline: LocalPipeline, clips: int, video: Path) -> float:
        frames = [_decode(video) for _ in range(clips)]
        with computing:
            return max(pipeline.highest_probabilities(frames))

    def baseline(name: str, pipeline: LocalPipeline, clips: int = 1) -> Baseline:
        call = partial(predict, pipeline, clips)
        return Baseline(name, call, callers=_PROCESS_CALLERS, clips_per_call=clips)

    paths = [baseline(PROCESS, pipeline), baseline(PROCESS_BATCHES, pipeline, _CLIPS_PER_BATCH)]
    if served.form.endswith("OpenVINO"):
        paths.append(baseline("one process, ONNX Runtime", onnxruntime_pipeline(served, "cpu")))
    return paths


def _predict_locally(pipeline: LocalPipeline, video: Path) -> float:
    return pipeline.highest_probabilities([_decode(video)])[0]


def _decode(video: Path) -> Frames:
    return decode_clip(video, FrameSelection(DEFAULT_FRAMES)).frames.data


@contextmanager
def _server_with_bls(repository: Path) -> Iterator[str]:
    """Serve the repository, through links, with the model that uses BLS beside it; yield the address."""
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        served = Path(folder) / "repository"
        served.mkdir()
        for entry in repository.iterdir():
            if entry.is_dir():  # without the record, which knows neither links nor the model with BLS
                (served / entry.name).symlink_to(entry.resolve())
        shutil.copytree(_BLS, served / "deepfake_bls")
        with TritonServer(ServerOptions.on_free_ports(served)) as server:
            yield server.url
