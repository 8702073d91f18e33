"""Which execution providers a config asks for, and what is said where one is missing or does not start."""

from __future__ import annotations

import json
from typing import Any

import onnxruntime
import pytest

from deepfake_triton.serving.execution_providers import (
    load_cuda_libraries,
    openvino_options,
    providers_from_config,
    require_in_use,
)

pytestmark = pytest.mark.fast

CPU: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})


def config(device: str, *accelerators: dict[str, Any]) -> dict[str, Any]:
    key = f"{device}_execution_accelerator"
    return {"optimization": {"execution_accelerators": {key: list(accelerators)}}}


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of ONNX Runtime that lists CUDA and TensorRT."""
    listed = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)


def test_accelerators_of_gpus_need_not_be_installed_for_an_instance_on_a_cpu() -> None:
    asked = config("gpu", {"name": "tensorrt"}, {"name": "cuda"})
    assert providers_from_config(asked, False, 0) == [CPU]
    assert providers_from_config({}, False, 0) == [CPU]


@pytest.mark.parametrize("device", ["gpu", "cpu"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_an_unknown_accelerator_is_refused_wherever_the_instance_runs(device: str, *, on_gpu: bool) -> None:
    with pytest.raises(
        ValueError, match=r"unknown execution accelerator 'abacus'; expected (tensorrt|openvino)"
    ):
        providers_from_config(config(device, {"name": "abacus"}), on_gpu, 0)


def test_a_gpu_without_its_provider_is_an_error_that_names_what_is_there() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has CUDA")
    with pytest.raises(ValueError, match=r"'cuda' is not installed: this ONNX Runtime has .*CPUExecution"):
        providers_from_config({}, True, 0)


@pytest.mark.usefixtures("cuda_build")
def test_an_instance_on_a_gpu_runs_under_cuda_with_options_that_the_config_may_change() -> None:
    (name, options), fallback = providers_from_config({}, True, 3)
    assert (name, fallback) == ("CUDAExecutionProvider", CPU)
    assert options == {"cudnn_conv_algo_search": "HEURISTIC", "device_id": "3"}
    changed = {"cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0", "device_id": "9"}
    asked = config("gpu", {"name": "cuda", "parameters": changed})
    assert dict(providers_from_config(asked, True, 3))[name] == {**changed, "device_id": "3"}


@pytest.mark.usefixtures("cuda_build")
def test_tensorrt_comes_before_cuda_with_its_options_renamed() -> None:
    parameters = {"precision_mode": "FP16", "max_workspace_size_bytes": "9", "trt_engine_cache_enable": "1"}
    (name, options), (second, _), _ = providers_from_config(
        config("gpu", {"name": "tensorrt", "parameters": parameters}), True, 0
    )
    assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options == {
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": "9",
        "trt_engine_cache_enable": "1",
        "device_id": "0",
    }
    with pytest.raises(ValueError, match="unsupported precision mode 'FP4'"):
        asked = config("gpu", {"name": "tensorrt", "parameters": {"precision_mode": "FP4"}})
        providers_from_config(asked, True, 0)


def test_a_provider_that_does_not_start_is_named_with_the_way_to_serve_on_the_cpu() -> None:
    require_in_use(["CUDAExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(ValueError, match="CUDAExecutionProvider does not start here") as raised:
        require_in_use(["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"])
    assert "`CUDA_VISIBLE_DEVICES= deepfake-triton serve …` serves on the CPU" in str(raised.value)
    assert "pip install 'deepfake-triton[gpu]'" in str(raised.value)
    with pytest.raises(ValueError, match=r"OpenVINOExecutionProvider does not start here; the log says why$"):
        require_in_use(["OpenVINOExecutionProvider"], ["CPUExecutionProvider"])


def test_a_build_that_loads_no_cuda_libraries_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    load_cuda_libraries()
    monkeypatch.delattr(onnxruntime, "preload_dlls", raising=False)
    load_cuda_libraries()


@pytest.mark.parametrize(("cpu_has_it", "hint"), [(True, "bf16"), (False, None)])
def test_openvino_computes_in_the_precision_of_the_model_where_the_cpu_has_it(
    *, monkeypatch: pytest.MonkeyPatch, cpu_has_it: bool, hint: str | None
) -> None:
    monkeypatch.setattr("deepfake_triton.serving.execution_providers.has_bf16", lambda: cpu_has_it)
    asked = {"parameters": {"openvino_inference_precision": {"string_value": "bf16"}}}
    properties = json.loads(openvino_options(asked)["load_config"])["CPU"]
    assert properties.get("INFERENCE_PRECISION_HINT") == hint
    assert "INFERENCE_PRECISION_HINT" not in json.loads(openvino_options({})["load_config"])["CPU"]


def test_a_precision_that_openvino_does_not_get_is_refused() -> None:
    asked = {"parameters": {"openvino_inference_precision": {"string_value": "fp8"}}}
    with pytest.raises(ValueError, match="openvino_inference_precision: got 'fp8', expected bf16"):
        openvino_options(asked)
