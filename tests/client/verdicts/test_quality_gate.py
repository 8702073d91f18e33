from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted

from deepfake_triton.arrays import Image
from deepfake_triton.client.verdicts.assembly import faces_from_answer
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule, blockiness_in
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.fast


@dataclass(frozen=True)
class Shown:
    frames_observed: int = 20
    face_px: float = 100.0
    sharpness: float = 100.0
    blockiness: float = 0.45


def destroyed(image: Image) -> Image:
    """Blocks of 8 px of one color each."""
    blocks = image[4::8, 4::8].repeat(8, axis=0).repeat(8, axis=1)
    return np.ascontiguousarray(blocks[: image.shape[0], : image.shape[1]])


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (Shown(), None),
        (Shown(blockiness=0.9), "low_quality"),
        (Shown(sharpness=9.9), "low_quality"),
        (Shown(face_px=20, blockiness=0.9), "face_too_small"),
        (Shown(frames_observed=1, blockiness=0.9), "too_few_frames"),
    ],
)
def test_why_a_face_is_rejected(shown: Shown, reason: str | None) -> None:
    assert EvidenceRule().rejection_reason(shown, 20) == reason


def test_the_border_itself_is_enough() -> None:
    rule = EvidenceRule(5, 40, 10, 0.5)
    assert rule.rejection_reason(Shown(blockiness=0.5), 20) is None
    assert rule.rejection_reason(Shown(blockiness=0.501), 20) == "low_quality"
    assert EvidenceRule(max_blockiness=9).rejection_reason(Shown(blockiness=0.9), 20) is None


def test_blockiness_is_that_of_the_face_where_it_was_seen(portrait: Portrait) -> None:
    clear = pasted(backdrop(240, 320), portrait.patch, 24, 16)
    box = np.array(portrait.face_at(24, 16), np.float32)
    frames = np.stack([clear, destroyed(clear), clear, destroyed(clear)])
    boxes = np.stack([box] * 4)
    rule = EvidenceRule()
    assert blockiness_in(frames, boxes, np.array([0, 2])) < rule.max_blockiness
    assert blockiness_in(frames, boxes, np.array([1, 3])) > rule.max_blockiness
    few = np.array([0, 1, 2])
    assert blockiness_in(frames, boxes, few) > rule.max_blockiness, "most frames are clear, the clip is not"
    outside = boxes + np.array([-90, -60, -90, -60], np.float32)
    assert blockiness_in(frames, outside, np.array([1])) > rule.max_blockiness


def test_a_destroyed_face_is_not_judged_however_sharp_its_blocks(portrait: Portrait) -> None:
    clear = pasted(backdrop(240, 320), portrait.patch, 24, 16)
    box = np.array(portrait.face_at(24, 16), np.float32)
    reasons = []
    for image in (clear, destroyed(clear)):
        batch = FrameBatch(np.stack([image] * 5), np.arange(5.0), 5.0)
        observed = np.ones((1, 5), np.bool_)
        (face,) = faces_from_answer(
            batch, np.full((1, 1), 0.9, np.float32), boxes=box[None, None].repeat(5, 1), observed=observed
        )
        assert face.sharpness > EvidenceRule().min_sharpness
        reasons.append(EvidenceRule().rejection_reason(face, 5))
    assert reasons == [None, "low_quality"]


def test_the_former_name_still_answers() -> None:
    assert EvidenceRule().lack(Shown(frames_observed=9), 100, 10) == "too_few_frames"
    assert EvidenceRule().lack(Shown(), 100) is None
