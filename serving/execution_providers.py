"""ONNX Runtime's execution providers and their options, as a model's `config.pbtxt` asks for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnxruntime

from deepfake_triton.contracts import OPENVINO_PRECISION
from deepfake_triton.host.cpu import has_bf16

Config = Mapping[str, Any]

CPU_PROVIDERS = {"openvino": "OpenVINOExecutionProvider"}
# Without its cache of kernels by shape, which grows with each new frame size and saves no time.
OPENVINO_PROPERTIES = {"CPU_RUNTIME_CACHE_CAPACITY": "0"}
# Trying all algorithms would take seconds for each new shape.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
GPU_PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ON_CPU = (
    "pip install 'deepfake-triton[gpu]' brings CUDA's libraries, and `CUDA_VISIBLE_DEVICES= deepfake-triton "
    "serve …` serves on the CPU"
)
# The C++ backend's names of TensorRT's options, where ONNX Runtime's differ.
TENSORRT_PRECISIONS: dict[str, dict[str, str]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
TENSORRT_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}


def providers_from_config(config: Config, on_gpu: bool, device_id: int) -> list[tuple[str, dict[str, str]]]:
    """Return execution providers, the preferred first. Raises ValueError for one that is unknown, or not
    installed; those of GPUs need not be where the instance runs on a CPU."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    gpu = accelerator_options(accelerators.get("gpu_execution_accelerator", []), GPU_PROVIDERS)
    cpu = accelerator_options(accelerators.get("cpu_execution_accelerator", []), CPU_PROVIDERS)
    providers: list[tuple[str, dict[str, str]]] = []
    if on_gpu:
        device = {"device_id": str(device_id)}
        if "tensorrt" in gpu:
            require_installed("tensorrt", GPU_PROVIDERS["tensorrt"])
            providers.append((GPU_PROVIDERS["tensorrt"], {**tensorrt_options(gpu["tensorrt"]), **device}))
        require_installed("cuda", GPU_PROVIDERS["cuda"])
        providers.append((GPU_PROVIDERS["cuda"], {**CUDA_OPTIONS, **gpu.get("cuda", {}), **device}))
    if "openvino" in cpu:
        require_installed("openvino", CPU_PROVIDERS["openvino"])
        providers.append((CPU_PROVIDERS["openvino"], openvino_options(config)))
    return [*providers, ("CPUExecutionProvider", {})]


def openvino_options(config: Config) -> dict[str, str]:
    """Return OpenVINO's options, with the precision that the model's parameter names. Raises ValueError for
    another than bf16. A CPU without bfloat16 computes in FP32, as NVIDIA's backend does everywhere."""
    properties = dict(OPENVINO_PROPERTIES)
    precision = config.get("parameters", {}).get(OPENVINO_PRECISION, {}).get("string_value", "")
    if precision not in ("", "bf16"):
        raise ValueError(f"parameter {OPENVINO_PRECISION}: got {precision!r}, expected bf16")
    if precision and has_bf16():
        properties["INFERENCE_PRECISION_HINT"] = precision
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}


def accelerator_options(accelerators: list[Config], known: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the options of each accelerator by its name."""
    for accelerator in accelerators:
        if accelerator["name"] not in known:
            raise ValueError(
                f"unknown execution accelerator {accelerator['name']!r}; expected {' or '.join(known)}"
            )
    return {accelerator["name"]: accelerator.get("parameters", {}) for accelerator in accelerators}


def load_cuda_libraries() -> None:
    """Load the CUDA libraries that pip installed, which the CUDA execution provider does not find itself."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        preload()


def require_installed(name: str, provider: str) -> None:
    """Raise ValueError where ONNX Runtime lacks the provider of the accelerator `name`."""
    installed = onnxruntime.get_available_providers()
    if provider not in installed:
        raise ValueError(
            f"execution accelerator {name!r} is not installed: this ONNX Runtime has {', '.join(installed)}"
        )


def require_in_use(wanted: list[str], used: list[str]) -> None:
    """Raise ValueError where a provider is not in use: ONNX Runtime falls back to CPU silently."""
    missing = [provider for provider in wanted if provider not in used]
    if missing:
        hint = f"; {_ON_CPU}" if set(missing) & set(GPU_PROVIDERS.values()) else ""
        raise ValueError(f"{', '.join(missing)} does not start here; the log says why{hint}")


def tensorrt_options(parameters: Mapping[str, str]) -> dict[str, str]:
    """Translate TensorRT's options to ONNX Runtime's names."""
    options: dict[str, str] = {}
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in TENSORRT_PRECISIONS:
                raise ValueError(f"unsupported precision mode {value!r} is requested")
            options |= TENSORRT_PRECISIONS[value]
        else:
            options[TENSORRT_RENAMED.get(key, key)] = value
    return options
