"""Quantize detector and extractor by one library: `python -m …builders LIBRARY WORKSPACE`.

Each library runs in a process of its own, so that the failure of one is an entry of the table. NNCF and
ModelOpt are in no extra: install `nncf` and `nvidia-modelopt[onnx]` in an environment of this comparison.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from deepfake_triton.benchmarks.int8_libraries.workspace import (
    Workspace,
    detector_feeds,
    extractor_feeds,
    split_nodes,
)
from deepfake_triton.export.options import OnnxRuntimeEngine
from deepfake_triton.export.parity.error_metrics import (
    Difference,
    detection_difference,
    probability_difference,
)
from deepfake_triton.export.parity.tolerances import INT8_MEAN_DETECTION, INT8_MEAN_PROBABILITY
from deepfake_triton.export.quantization.quantize import quantize_to_int8
from deepfake_triton.host.cpu import has_vnni
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

GraphQuantizer = Callable[[Path, Sequence[Feed], Path], None]
"""Quantizes a graph on calibration feeds and writes the INT8 graph."""


def build_ours(workspace: Workspace) -> None:
    """Quantize by this project's own post-training quantization."""
    graphs = quantize_to_int8(
        workspace.fp32, default_checkpoint(), workspace.load_calibration(), engine=OnnxRuntimeEngine()
    )
    target = workspace.int8("ours")
    shutil.copy(graphs.detector.onnx, target.detector)
    shutil.copy(graphs.extractor.onnx, target.extractor)


def build_with(quantizer: GraphQuantizer, library: str) -> Callable[[Workspace], None]:
    """Return a builder that applies the quantizer to both graphs."""

    def build(workspace: Workspace) -> None:
        faces, target = workspace.load_calibration(), workspace.int8(library)
        quantizer(workspace.fp32.detector, detector_feeds(faces), target.detector)
        quantizer(workspace.fp32.extractor, extractor_feeds(faces), target.extractor)

    return build


def quantize_by_onnxruntime(graph: Path, feeds: Sequence[Feed], output: Path) -> None:
    """Quantize by ONNX Runtime's static quantization: Q/DQ, min/max ranges, weights by channel."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(graph),
        str(output),
        _CalibrationReader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=not has_vnni(),
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=split_nodes(graph)[0],
    )


def quantize_by_nncf(graph: Path, feeds: Sequence[Feed], output: Path) -> None:
    """Quantize by NNCF's defaults."""
    import nncf

    quantized = nncf.quantize(
        onnx.load(graph), _nncf_dataset(feeds), subset_size=len(feeds), ignored_scope=_nncf_scope(graph)
    )
    onnx.save(quantized, str(output))


def quantize_by_smoothquant(graph: Path, feeds: Sequence[Feed], output: Path) -> None:
    """Quantize by NNCF with SmoothQuant, which it applies to its model type `transformer` only."""
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
    )

    alphas = AdvancedSmoothQuantParameters(convolution=0.5, matmul=0.95)
    quantized = nncf.quantize(
        onnx.load(graph),
        _nncf_dataset(feeds),
        subset_size=len(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=_nncf_scope(graph),
        advanced_parameters=AdvancedQuantizationParameters(smooth_quant_alphas=alphas),
    )
    onnx.save(quantized, str(output))


def build_nncf_accuracy_control(workspace: Workspace) -> None:
    """Quantize by NNCF with accuracy control, at the limits of this project's own."""
    faces, target = workspace.load_calibration(), workspace.int8("nncf-accuracy-control")
    clips, crops = len(faces.frames) * 3 // 4, len(faces.crops) * 3 // 4
    fp32 = workspace.fp32
    _quantize_with_accuracy_control(
        fp32.detector,
        detector_feeds(faces)[:clips],
        target.detector,
        difference=detection_difference(OnnxRunner(fp32.detector), faces.frames[clips:]),
        limit=INT8_MEAN_DETECTION,
    )
    _quantize_with_accuracy_control(
        fp32.extractor,
        extractor_feeds(faces)[:crops],
        target.extractor,
        difference=probability_difference(
            OnnxRunner(fp32.extractor), OnnxRunner(fp32.classifier), faces.crops[crops:]
        ),
        limit=INT8_MEAN_PROBABILITY,
    )


def _quantize_with_accuracy_control(
    graph: Path, feeds: Sequence[Feed], output: Path, *, difference: Difference, limit: float
) -> None:
    import nncf

    trial = output.with_suffix(".trial.onnx")

    def validate(model: onnx.ModelProto, _: Any) -> tuple[float, None]:
        onnx.save(model, str(trial))
        return 1 - difference(OnnxRunner(trial)), None  # a metric of 0 is divided by

    quantized = nncf.quantize_with_accuracy_control(
        onnx.load(graph),
        calibration_dataset=_nncf_dataset(feeds),
        validation_dataset=_nncf_dataset(feeds[:1]),  # the function has its own
        validation_fn=validate,
        max_drop=limit,
        subset_size=len(feeds),
        ignored_scope=_nncf_scope(graph),
    )
    onnx.save(quantized, str(output))
    trial.unlink()


def quantize_by_modelopt(graph: Path, feeds: Sequence[Feed], output: Path) -> None:
    """Quantize by the ONNX PTQ of NVIDIA's ModelOpt: entropy calibration, what is not INT8 in FP32."""
    from modelopt.onnx.quantization import quantize

    quantize(
        str(graph),
        quantize_mode="int8",
        calibration_data_reader=_CalibrationReader(feeds),
        calibration_eps=["cpu"],
        nodes_to_exclude=split_nodes(graph)[1],
        high_precision_dtype="fp32",
        output_path=str(output),
    )


def _nncf_dataset(feeds: Sequence[Feed]) -> Any:
    import nncf

    return nncf.Dataset([dict(feed) for feed in feeds])


def _nncf_scope(graph: Path) -> Any:
    import nncf

    return nncf.IgnoredScope(names=split_nodes(graph)[1], validate=False)


class _CalibrationReader:
    """ONNX Runtime's `CalibrationDataReader`."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds
        self.rewind()

    def rewind(self) -> None:
        """Start again."""
        self._remaining: Iterator[Feed] = iter(self._feeds)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the next feed, or None."""
        feed = next(self._remaining, None)
        return None if feed is None else dict(feed)

    def get_first(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the first feed; ModelOpt asks for it."""
        return dict(self._feeds[0])


BUILDERS: Mapping[str, Callable[[Workspace], None]] = {
    "ours": build_ours,
    "onnxruntime": build_with(quantize_by_onnxruntime, "onnxruntime"),
    "nncf": build_with(quantize_by_nncf, "nncf"),
    "nncf-smoothquant": build_with(quantize_by_smoothquant, "nncf-smoothquant"),
    "nncf-accuracy-control": build_nncf_accuracy_control,
    "modelopt": build_with(quantize_by_modelopt, "modelopt"),
}
"""Libraries by name."""


if __name__ == "__main__":
    library, folder = sys.argv[1:]
    BUILDERS[library](Workspace(Path(folder)))
