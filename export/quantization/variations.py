"""Vary the bundled portraits as cameras and codecs do, for INT8: 40 clean faces alone cost it accuracy."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.export.quantization.calibration import CalibrationFaces


def vary_faces(faces: CalibrationFaces) -> CalibrationFaces:
    """Return each crop and four variations of it, one after the other: mirrored, darker or brighter, smaller,
    and compressed. Frames stay as they are."""
    return replace(faces, crops=np.stack([varied for crop in faces.crops for varied in _variations(crop)]))


def _variations(crop: Image) -> tuple[Image, ...]:
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    return (
        crop,
        _compress(_change_gamma(mirrored, 1.5), 60),
        _compress(_lose_detail(crop, 0.5), 40),
        _change_gamma(_compress(mirrored, 25), 0.7),
        _compress(_lose_detail(_change_gamma(mirrored, 1.2), 0.7), 70),
    )


def _change_gamma(image: Image, gamma: float) -> Image:
    return np.asarray(255 * (image / 255.0) ** gamma, np.uint8)


def _lose_detail(image: Image, scale: float) -> Image:
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _compress(image: Image, quality: int) -> Image:
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
