"""The extractor that reads pixels: whole numbers of 8 bits, and the features of the one it is made of."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch

from deepfake_triton.export.default_checkpoint import default_checkpoint
from deepfake_triton.export.networks import FeatureExtractor
from deepfake_triton.export.pixel_extractor import pixel_extractor
from deepfake_triton.export.rounding import folded
from deepfake_triton.preprocessing.faces import TrackedFaces


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_the_same_features_from_whole_numbers(
    tracked_clip: TrackedFaces, channel_order: Literal["rgb", "bgr"]
) -> None:
    own = default_checkpoint()
    facts = dataclasses.replace(own.facts, channel_order=channel_order)
    plain = FeatureExtractor(own.extractor.backbone, facts).eval()
    extractor = pixel_extractor(folded(own.extractor.backbone), facts)
    crops = torch.from_numpy(tracked_clip.faces[:1, :4].copy())
    crops[0, 0, :8] = 255
    crops[0, 0, -8:] = 0
    pictures = extractor.pictures(crops[0].float())
    assert pictures.shape == (4, 3, 118, 118)
    assert pictures.min() == -128 and pictures.max() == 127
    assert torch.equal(pictures, pictures.round())
    with torch.inference_mode():
        wanted, got = plain(crops), extractor(crops)
    # the margin is up to half a level beside what normalisation takes to zero
    assert (wanted - got).norm() < 2e-3 * wanted.norm()
