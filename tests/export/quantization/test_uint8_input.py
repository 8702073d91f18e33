"""The extractor with uint8 input: int8 pixels, and the features of the extractor it is made of."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch

from deepfake_triton.export.quantization.batch_norm_folding import fold_batch_norms
from deepfake_triton.export.quantization.uint8_input import uint8_input_extractor
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.networks import FeatureExtractor
from deepfake_triton.preprocessing.faces import TrackedFaces

pytestmark = pytest.mark.compute


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_the_same_features_from_int8_pixels(
    tracked_clip: TrackedFaces, channel_order: Literal["rgb", "bgr"]
) -> None:
    own = default_checkpoint()
    metadata = dataclasses.replace(own.metadata, channel_order=channel_order)
    plain = FeatureExtractor(own.extractor.backbone, metadata).eval()
    extractor = uint8_input_extractor(fold_batch_norms(own.extractor.backbone), metadata)
    crops = torch.from_numpy(tracked_clip.faces[:1, :4].copy())
    crops[0, 0, :8] = 255
    crops[0, 0, -8:] = 0
    images = extractor.preprocess(crops[0].float())
    assert images.shape == (4, 3, 118, 118)
    assert images.min() == -128 and images.max() == 127
    assert torch.equal(images, images.round())
    with torch.inference_mode():
        wanted, got = plain(crops), extractor(crops)
    # padding is up to half a level beside what normalization maps to zero
    assert (wanted - got).norm() < 2e-3 * wanted.norm()
