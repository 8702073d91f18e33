"""What can be exported, and what it may differ by: the one place where that is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Engine = Literal["onnx", "tensorrt"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
DEFAULT_CALIBRATION_SAMPLES = 256


@dataclass(frozen=True)
class ParityLimits:
    """Against torch: `logit` times the logits' spread over the crops (None: not looked at), `probability`.

    The detector against its FP32 graph: `detection`, the mean of 1 - intersection over union and of the
    difference in score. The same engine alone against batched: `batch_px` for a detector's boxes,
    `batch_probability` for what extractor and classifier make of a clip. On labelled clips: the share of
    verdicts that are `flipped`, and how much `auc` may fall.
    """

    logit: float | None
    probability: float
    detection: float
    batch_px: float
    batch_probability: float
    flipped: float
    auc: float


INT8_BATCH_PROBABILITY = 0.01
"""ONNX Runtime's dynamic INT8 LSTM takes one scale for a whole batch, so that its rows see each other; its
model puts no requests together (measured on seven clips: 0.0006 with the default weights, 0.0044 with an LSTM
of 2048)."""

LIMITS: dict[Precision, ParityLimits] = {
    "fp32": ParityLimits(
        1e-3, 5e-4, detection=1e-4, batch_px=1e-3, batch_probability=1e-4, flipped=0.0, auc=1e-3
    ),
    "fp16": ParityLimits(
        None, 1e-2, detection=1e-2, batch_px=0.1, batch_probability=1e-3, flipped=0.005, auc=2e-3
    ),
    "int8": ParityLimits(
        None,
        0.1,
        detection=5e-2,
        batch_px=0.1,
        batch_probability=INT8_BATCH_PROBABILITY,
        flipped=0.01,
        auc=1e-2,
    ),
}
INT8_MEAN_PROBABILITY = 0.015
"""The mean over crops, each a clip of one frame: what decides which blocks of an extractor stay FP32, which
costs speed. With the default weights, the mean over clips of 20 frames was a third of that over crops."""
INT8_MEAN_DETECTION = 0.02
"""The same for a detector's blocks. At 0.036, boxes moved crops so far that 4 of 254 verdicts flipped, at
0.021 one."""
