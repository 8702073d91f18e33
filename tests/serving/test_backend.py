"""The Python-based backend `onnxruntime`, inside the real server, on small graphs whose answer is known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import parser
from support import settled
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from deepfake_triton.errors import ServerFailed
from deepfake_triton.serving.process.startup_errors import reason_from_log
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

# total = row sums; picked = the row's value at its own index: out of range is an error of that row.
PICK = """
<ir_version: 8, opset_import: ["" : 17]>
pick (float[N, D] values, int64[N, 1] index) => (float[N, 1] total, float[N, 1] picked)
<int64[1] axis = {1}>
{
  total = ReduceSum <keepdims = 1> (values, axis)
  picked = GatherElements <axis = 1> (values, index)
}
"""


def write_model(
    root: Path, change: Callable[[pb.ModelConfig], None] | None = None, name: str = "pick"
) -> Path:
    graph = parser.parse_model(PICK)
    config = pb.ModelConfig(name=name, backend="onnxruntime", max_batch_size=16)
    config.input.add(name="values", data_type=pb.TYPE_FP32, dims=[-1])
    config.input.add(name="index", data_type=pb.TYPE_INT64, dims=[1])
    config.output.add(name="total", data_type=pb.TYPE_FP32, dims=[1])
    config.output.add(name="picked", data_type=pb.TYPE_FP32, dims=[1])
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)
    config.dynamic_batching.max_queue_delay_microseconds = 300_000
    if change:
        change(config)
    folder = root / name / "1"
    folder.mkdir(parents=True)
    onnx.save(graph, str(folder / (config.default_model_filename or "model.onnx")))
    (root / name / "config.pbtxt").write_text(text_format.MessageToString(config))
    return root


def ask(
    connection: grpc.InferenceServerClient, values: np.ndarray, index: np.ndarray, *, model: str = "pick"
) -> tuple[np.ndarray, np.ndarray]:
    inputs = [
        grpc.InferInput("values", list(values.shape), "FP32"),
        grpc.InferInput("index", list(index.shape), "INT64"),
    ]
    inputs[0].set_data_from_numpy(values)
    inputs[1].set_data_from_numpy(index)
    answer = connection.infer(model, inputs)
    return answer.as_numpy("total"), answer.as_numpy("picked")


def start(root: Path) -> TritonServer:
    return TritonServer(ServerOptions.on_free_ports(root))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    root = write_model(tmp_path_factory.mktemp("backend"))
    with start(root) as running:
        yield running


@pytest.fixture(scope="module")
def connection(server: TritonServer) -> Iterator[grpc.InferenceServerClient]:
    with grpc.InferenceServerClient(server.url) as connected:
        yield connected


def together(count: int, call: Callable[[int], Any]) -> dict[int, Any]:
    """Run `call(0)` … at the same time; results and errors by index."""
    results: dict[int, Any] = {}

    def run(index: int) -> None:
        try:
            results[index] = call(index)
        except InferenceServerException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def statistics(connection: grpc.InferenceServerClient) -> tuple[int, int]:
    def read() -> tuple[int, int]:
        stats: Mapping[str, Any] = connection.get_inference_statistics("pick", as_json=True)["model_stats"][0]
        return int(stats.get("inference_count", 0)), int(stats.get("execution_count", 0))

    rows, runs = settled(read)
    return rows, runs


def test_requests_are_put_together_and_split_again(connection: grpc.InferenceServerClient) -> None:
    rows_before, runs_before = statistics(connection)

    def call(index: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.arange(3 * (index + 1), dtype=np.float32).reshape(index + 1, 3) + 100 * index
        return ask(connection, values, np.full((index + 1, 1), index % 3))

    for index, (total, picked) in together(4, call).items():
        values = np.arange(3 * (index + 1), dtype=np.float32).reshape(index + 1, 3) + 100 * index
        assert total[:, 0].tolist() == values.sum(axis=1).tolist()
        assert picked[:, 0].tolist() == values[:, index % 3].tolist()
    rows, runs = statistics(connection)
    assert rows - rows_before == 1 + 2 + 3 + 4
    assert runs - runs_before < 4


def test_a_bad_request_fails_alone(connection: grpc.InferenceServerClient) -> None:
    def call(index: int) -> tuple[np.ndarray, np.ndarray]:
        return ask(
            connection, np.full((1, 3), index, np.float32), np.array([[99 if index == 2 else 1]], np.int64)
        )

    results = together(5, call)
    assert isinstance(results[2], InferenceServerException) and "Out of range" in str(results[2])
    for index in (0, 1, 3, 4):
        assert results[index][1].tolist() == [[index]]


def set_parameter(key: str, value: str) -> Callable[[pb.ModelConfig], None]:
    def change(config: pb.ModelConfig) -> None:
        config.parameters[key].string_value = value

    return change


def accelerator(kind: str, name: str) -> Callable[[pb.ModelConfig], None]:
    def change(config: pb.ModelConfig) -> None:
        accelerators = config.optimization.execution_accelerators
        getattr(accelerators, f"{kind}_execution_accelerator").add(name=name)

    return change


REFUSALS: tuple[tuple[Callable[[pb.ModelConfig], None], str], ...] = (
    (accelerator("gpu", "abacus"), "unknown execution accelerator 'abacus'; expected tensorrt or cuda"),
    (accelerator("cpu", "abacus"), "unknown execution accelerator 'abacus'; expected openvino"),
    (set_parameter("execution_mode", "7"), "execution_mode: got 7"),
    (set_parameter("intra_op_thread_count", "many"), "intra_op_thread_count: got 'many'"),
    (set_parameter("enable_mem_arena", "perhaps"), "enable_mem_arena: got 'perhaps'"),
    (set_parameter("max_run_rows", "-1"), "max_run_rows: got -1"),
    (lambda config: config.output.add(name="third", data_type=pb.TYPE_FP32, dims=[1]), "third"),
)


def test_what_cannot_be_honored_is_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One server of all of them: Triton loads each, and its log has the reason of each."""
    for number, (change, _) in enumerate(REFUSALS):
        write_model(tmp_path, change, name=f"pick_{number}")
    with pytest.raises(ServerFailed, match=r"model pick_\d does not load"), start(tmp_path):
        pass
    reasons = [reason_from_log([line]) for line in capfd.readouterr().err.splitlines()]
    for number, (_, says) in enumerate(REFUSALS):
        assert any(
            reason.startswith(f"model pick_{number} does not load: ") and says in reason for reason in reasons
        ), f"{says}: {reasons}"


@pytest.mark.parametrize(("kind", "name"), [("cpu", "openvino"), ("gpu", "tensorrt")])
def test_openvino_and_what_is_for_gpus_answer_as_the_plain_provider(
    tmp_path: Path, kind: str, name: str
) -> None:
    with (
        start(write_model(tmp_path, accelerator(kind, name))) as server,
        grpc.InferenceServerClient(server.url) as connection,
    ):
        values = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
        total, picked = ask(connection, values, np.array([[2], [0]]))
        assert total[:, 0].tolist() == [6, 15] and picked[:, 0].tolist() == [3, 4]


def test_threads_instances_and_modes_are_honored(tmp_path: Path) -> None:
    """Counted in the server's own processes: one for each instance, with the threads asked for."""

    def few(config: pb.ModelConfig) -> None:
        config.parameters["intra_op_thread_count"].string_value = "1"

    def many(config: pb.ModelConfig) -> None:
        config.name = "many"
        config.parameters["intra_op_thread_count"].string_value = "6"
        config.parameters["execution_mode"].string_value = "1"
        config.parameters["inter_op_thread_count"].string_value = "3"
        config.parameters["enable_mem_arena"].string_value = "0"
        config.parameters["enable_mem_pattern"].string_value = "false"
        config.optimization.graph.level = 2
        config.instance_group[0].count = 2
        config.default_model_filename = "graph.onnx"

    write_model(tmp_path, few)
    write_model(tmp_path, many, name="many")
    with start(tmp_path) as server, grpc.InferenceServerClient(server.url) as connection:
        for model in ("pick", "many"):
            values = np.array([[1, 2, 3]], np.float32)
            total, picked = ask(connection, values, np.array([[2]]), model=model)
            assert (total[0, 0], picked[0, 0]) == (6, 3)
        threads = threads_of_stubs(server.process.pid)
    assert len(threads["pick"]) == 1 and len(threads["many"]) == 2
    (few_threads,) = threads["pick"]
    # ORT counts the calling thread as one of its intra-op threads: 6 - 1, and 3 - 1 or 3 for inter-op.
    for many_threads in threads["many"]:
        assert 5 + 2 <= many_threads - few_threads <= 5 + 3


def threads_of_stubs(server_pid: int) -> dict[str, list[int]]:
    """Threads of each Python process below the server, by the model that it serves."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (entry / "cmdline").read_text()
            count = len(list((entry / "task").iterdir()))
        except OSError:
            continue
        if parent == server_pid:
            for model in ("pick", "many"):
                if f"/{model}/" in words or words.rstrip("\0").endswith(f"/{model}") or f"{model}_0" in words:
                    found.setdefault(model, []).append(count)
    return found


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.InferenceServerClient]:
    """Runs of at most four rows or 12 values, of requests of at most 60 values and rows of 6."""

    def bound(config: pb.ModelConfig) -> None:
        for key, value in (("request", "60"), ("row", "6"), ("run", "12")):
            config.parameters[f"max_{key}_elements"].string_value = value
        config.parameters["max_run_rows"].string_value = "4"

    with (
        start(write_model(tmp_path_factory.mktemp("bounded"), bound)) as running,
        grpc.InferenceServerClient(running.url) as connected,
    ):
        yield connected


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 16])
def test_a_batch_in_pieces_is_answered_as_a_whole(bounded: grpc.InferenceServerClient, rows: int) -> None:
    for width in (1, 3, 6):
        if rows * width <= 60:
            values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
            total, picked = ask(bounded, values, np.arange(rows)[:, None] % width)
            assert total[:, 0].tolist() == values.sum(axis=1).tolist()
            assert picked[:, 0].tolist() == values[np.arange(rows), np.arange(rows) % width].tolist()


def test_requests_of_several_pieces_together_with_bad_ones(bounded: grpc.InferenceServerClient) -> None:
    """Sent at once: some are put together, one has an index out of range, one is too large."""

    def call(index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = 16 if index == 5 else 1 + index
        values = np.full((rows, 4), index, np.float32)
        return ask(bounded, values, np.full((rows, 1), 9 if index == 2 else 1))

    results = together(6, call)
    assert isinstance(results[2], InferenceServerException) and "Out of range" in str(results[2])
    assert isinstance(results[5], InferenceServerException)
    assert results[5].status() == "StatusCode.INVALID_ARGUMENT"
    assert "values: got [16, 4], 64 elements, at most 60" in str(results[5])
    for index in (0, 1, 3, 4):
        assert results[index][0].tolist() == [[4.0 * index]] * (1 + index)


@pytest.mark.parametrize("shape", [(1, 7), (2, 30), (16, 4)])
def test_what_is_too_large_is_refused_with_both_numbers(
    bounded: grpc.InferenceServerClient, shape: tuple[int, int]
) -> None:
    with pytest.raises(InferenceServerException, match=r"elements.*at most (60|6);") as caught:
        ask(bounded, np.zeros(shape, np.float32), np.zeros((shape[0], 1), np.int64))
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
