from __future__ import annotations

import pytest

from deepfake_triton.contracts import served_models
from deepfake_triton.models.stages import MODEL_NAMES, Stages

pytestmark = pytest.mark.fast


def test_stages_are_mapped_and_iterated_in_the_order_of_a_clip() -> None:
    lengths = Stages(detector="d", extractor="ee", classifier="ccc").map(len)
    assert lengths == Stages(detector=1, extractor=2, classifier=3) and list(lengths) == [1, 2, 3]


def test_values_are_named_after_the_served_models() -> None:
    by_model = Stages(detector=1, extractor=2, classifier=3).by_model()
    assert by_model == {"face_detector": 1, "feature_extractor": 2, "sequence_classifier": 3}
    networks = [spec.name for spec in served_models() if spec.backend == "onnxruntime"]
    assert list(MODEL_NAMES) == networks
