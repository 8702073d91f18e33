"""Tolerances of the parity check and the accuracy gate by precision: the one place where they stand."""

from __future__ import annotations

from dataclasses import dataclass

from deepfake_triton.export.options import PrecisionName
from deepfake_triton.repository.report_sections import ParityLimits


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that a precision may make.

    Against torch: `logit`, as a factor of the logits' spread over the crops (None: not checked), and
    `probability`. The detector against its FP32 graph: `detection`, the mean of 1 - intersection over union
    and of the difference in score. The same engine one by one against batched: `batch_px` for a detector's
    boxes, `batch_probability` for the probability of a clip. On labeled clips:
    `max_flipped_share` of the verdicts, and `max_auc_drop`.
    """

    logit: float | None
    probability: float
    detection: float
    batch_px: float
    batch_probability: float
    max_flipped_share: float
    max_auc_drop: float

    def parity_limits(self, logit_spread: float) -> ParityLimits:
        """Return the limits for a sample: that of the logits grows with their spread, where it is over 1."""
        return ParityLimits(
            logit=None if self.logit is None else self.logit * max(1.0, logit_spread),
            probability=self.probability,
            detection=self.detection,
            detector_batch_px=self.batch_px,
            batch_probability=self.batch_probability,
        )


INT8_BATCH_PROBABILITY = 0.01
"""ONNX Runtime's dynamic INT8 LSTM takes one scale for a whole batch, so that its rows affect each other; its
model batches no requests (measured on seven clips: 0.0006 with the default weights, 0.0044 with an LSTM of
2048)."""

TOLERANCES: dict[PrecisionName, Tolerances] = {
    "fp32": Tolerances(
        logit=1e-3,
        probability=5e-4,
        detection=1e-4,
        batch_px=1e-3,
        batch_probability=1e-4,
        max_flipped_share=0.0,
        max_auc_drop=1e-3,
    ),
    "bf16": Tolerances(
        logit=None,
        probability=5e-2,
        detection=1e-4,
        batch_px=1e-3,
        batch_probability=1e-2,
        max_flipped_share=0.005,
        max_auc_drop=2e-3,
    ),
    "fp16": Tolerances(
        logit=None,
        probability=1e-2,
        detection=1e-2,
        batch_px=0.1,
        batch_probability=1e-3,
        max_flipped_share=0.005,
        max_auc_drop=2e-3,
    ),
    "int8": Tolerances(
        logit=None,
        probability=0.1,
        detection=5e-2,
        batch_px=0.1,
        batch_probability=INT8_BATCH_PROBABILITY,
        max_flipped_share=0.01,
        max_auc_drop=1e-2,
    ),
}
INT8_MEAN_PROBABILITY = 0.015
"""The mean over crops, each a clip of one frame: it decides which blocks of an extractor stay FP32, which
costs speed. With the default weights, the mean over clips of 20 frames was a third of that over crops."""
INT8_MEAN_DETECTION = 0.02
"""The same for a detector's blocks. At 0.036, boxes moved crops so far that 4 of 254 verdicts flipped, at
0.021 one."""
