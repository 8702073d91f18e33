"""A GPU's answers beside the CPU's, in both precisions, alone and with other callers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import cli
from deepfake_triton.benchmarks.baselines.in_process import onnxruntime_pipeline
from deepfake_triton.benchmarks.baselines.repositories import read_served_version
from deepfake_triton.client import DeepfakeClient, FrameBatch
from deepfake_triton.models.stages import MODEL_NAMES
from deepfake_triton.serving.installation.find import find_installation
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not find_installation().serves_on_gpu(), reason="no GPU here that ONNX Runtime can use"
    ),
]

MAX_DIFFERENCE = {"fp32": 0.002, "fp16": 0.02}
CALLERS = 8


def exported(folder: Path, precision: str) -> Path:
    output = folder / precision
    arguments = ["export", "--output", str(output), "--precision", precision, "--device", "gpu"]
    assert cli.main(arguments) == 0
    return output


@pytest.fixture(scope="module")
def fp32_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("gpu"), "fp32")


@pytest.fixture(scope="module")
def on_cpu(fp32_repository: Path, clip_frames: FrameBatch) -> list[float]:
    """The probabilities of the clip's faces by the plain provider."""
    pipeline = onnxruntime_pipeline(read_served_version(fp32_repository), "cpu")
    probabilities: list[float] = pipeline.probabilities(pipeline.faces(clip_frames.data))[:, 0].tolist()
    return probabilities


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def served(
    request: pytest.FixtureRequest, fp32_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TritonServer, float]]:
    """A server on the GPU, and by how much it may differ from the CPU in FP32."""
    precision = request.param
    repository = (
        fp32_repository if precision == "fp32" else exported(tmp_path_factory.mktemp("gpu"), precision)
    )
    with TritonServer(ServerOptions.on_free_ports(repository)) as server:
        yield server, MAX_DIFFERENCE[precision]


def test_the_networks_run_on_the_gpu(served: tuple[TritonServer, float]) -> None:
    server, _ = served
    with grpc.InferenceServerClient(server.url) as connection:
        for name in MODEL_NAMES:
            groups = connection.get_model_config(name).config.instance_group
            assert {group.kind for group in groups} == {pb.ModelInstanceGroup.KIND_GPU}, name


def test_one_caller_gets_the_cpus_answer(
    served: tuple[TritonServer, float], on_cpu: list[float], clip_frames: FrameBatch
) -> None:
    server, limit = served
    with DeepfakeClient(server.url) as client:
        for _ in range(3):
            found = [face.fake_probability for face in client.faces(clip_frames)]
            assert found == pytest.approx(on_cpu, abs=limit)


def test_callers_who_share_batches_get_it_too(
    served: tuple[TritonServer, float], on_cpu: list[float], clip_frames: FrameBatch
) -> None:
    server, limit = served
    with DeepfakeClient(server.url) as client, ThreadPoolExecutor(CALLERS) as pool:
        for faces in pool.map(client.faces, [clip_frames] * (4 * CALLERS)):
            assert [face.fake_probability for face in faces] == pytest.approx(on_cpu, abs=limit)
