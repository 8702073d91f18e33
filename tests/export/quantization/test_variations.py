"""Variations of the portraits that INT8 is calibrated on by default."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.export.quantization.calibration import CalibrationFaces
from deepfake_triton.export.quantization.variations import vary_faces

pytestmark = pytest.mark.fast


def test_a_face_and_its_variations_follow_each_other() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    crops = np.repeat(np.repeat(crops, 28, axis=1), 28, axis=2)
    faces = CalibrationFaces(crops, (np.zeros((1, 8, 8, 3), np.uint8),), 2)
    varied = vary_faces(faces)
    assert varied.crops.shape == (15, 112, 112, 3) and varied.crops.dtype == np.uint8
    assert (varied.frames, varied.unused) == (faces.frames, 2)
    for person in range(3):
        of_person = varied.crops[5 * person : 5 * person + 5].astype(float)
        assert np.array_equal(of_person[0], crops[person])
        means = of_person.mean(axis=(1, 2, 3))
        assert means[1] < means[4] < means[0] < means[3], "two are darker, one is brighter"
        mirrored = crops[person][:, ::-1].astype(float)
        for index, image in ((1, mirrored), (2, crops[person]), (3, mirrored), (4, mirrored)):
            assert np.corrcoef(of_person[index].ravel(), image.ravel())[0, 1] > 0.9
