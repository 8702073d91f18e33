"""Postprocessing of anchor-free and anchor-based dense detectors (YuNet, SCRFD) in torch, to be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import onnx
import torch
from torch import Tensor, nn

from deepfake_triton.contracts import CANDIDATES, DETECTION_FIELDS, DETECTIONS, MIN_CANDIDATE_SCORE
from deepfake_triton.models.onnx_export import export_onnx

STRIDES = (8, 16, 32)
LEVEL_FIELDS = {"score": 1, "box": 4, "marks": 10}
BoxForm = Literal["center", "distances"]


class DenseDecoder(nn.Module):
    """Decoder from three pyramid levels to `detections` float32 [N, 32, 15] in px of the frame.

    Each level has `score` [N, M, 1], `box` [N, M, 4] and `marks` (landmarks) [N, M, 10], M = rows * columns *
    anchors, with lengths in strides. A candidate is a local maximum of the score in a neighborhood of 3×3
    cells. Its box is the offset of the center and the logarithm of the size (`center`), or the distances to
    the four sides (`distances`).
    """

    def __init__(self, anchors: int, form: BoxForm) -> None:
        super().__init__()
        self.anchors, self.form = anchors, form

    def forward(self, picture: Tensor, scaled_hw: Tensor, frame_hw: Tensor, *levels: Tensor) -> Tensor:
        """Return `detections`; the frame fills the upper left `scaled_hw` px of `picture` [N, 3, h, w]."""
        peaks, fields = [], []
        for index, stride in enumerate(STRIDES):
            score, box, marks = levels[3 * index : 3 * index + 3]
            rows, columns = picture.shape[2] // stride, picture.shape[3] // stride
            peaks.append(self._peaks(score, rows, columns))
            cells = self._cells(rows, columns)
            points = marks.reshape(marks.shape[0], -1, 5, 2) + cells[:, None]
            fields.append(torch.cat([self._corners(box, cells), points.flatten(2)], dim=2) * stride)
        scores, best = torch.cat(peaks, dim=1).topk(CANDIDATES, dim=1)
        chosen = torch.cat(fields, dim=1).gather(1, best[:, :, None].expand(-1, -1, DETECTION_FIELDS - 1))
        frame_xy = frame_hw.flip(0).float()
        ratio_xy = frame_xy / scaled_hw.flip(0).float()
        points = chosen.reshape(chosen.shape[0], CANDIDATES, -1, 2) * ratio_xy
        corners = torch.minimum(points[:, :, :2].clamp(min=0), frame_xy)
        rows_of = torch.cat([corners.flatten(2), scores[:, :, None], points[:, :, 2:].flatten(2)], dim=2)
        return torch.where(scores[:, :, None] >= MIN_CANDIDATE_SCORE, rows_of, torch.zeros_like(rows_of))

    def _peaks(self, score: Tensor, rows: int, columns: int) -> Tensor:
        maps = score.reshape(score.shape[0], rows, columns, self.anchors).permute(0, 3, 1, 2)
        highest = maps.amax(dim=1, keepdim=True)
        near = nn.functional.max_pool2d(highest, 3, stride=1, padding=1)
        kept = torch.where(maps >= near, maps, torch.zeros_like(maps))
        return kept.permute(0, 2, 3, 1).flatten(1)

    def _cells(self, rows: int, columns: int) -> Tensor:
        """Return the column and row of each anchor, [M, 2] float32."""
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells = torch.stack([x, y], dim=2).reshape(-1, 1, 2).expand(-1, self.anchors, 2)
        return cells.reshape(-1, 2).float()

    def _corners(self, box: Tensor, cells: Tensor) -> Tensor:
        first, second = box[:, :, :2], box[:, :, 2:]
        if self.form == "distances":
            return torch.cat([cells - first, cells + second], dim=2)
        half = second.exp() / 2
        return torch.cat([cells + first - half, cells + first + half], dim=2)


def decoder_onnx(anchors: int, form: BoxForm, path: Path) -> onnx.ModelProto:
    """Export the decoder; its inputs are `picture`, `scaled_hw`, `frame_hw`, `score_8` … `marks_32`."""
    side, examples, names = 64, [], []
    for stride in STRIDES:
        places = (side // stride) ** 2 * anchors
        for name, size in LEVEL_FIELDS.items():
            names.append(f"{name}_{stride}")
            examples.append(torch.zeros(1, places, size))
    axes = {"picture": {0: "N", 2: "h", 3: "w"}, DETECTIONS.name: {0: "N"}}
    axes |= {name: {0: "N", 1: name.replace("_", "")} for name in names}
    hw = torch.tensor([side, side])
    export_onnx(
        DenseDecoder(anchors, form).eval(),
        (torch.zeros(1, 3, side, side), hw, hw, *examples),
        path,
        inputs=["picture", "scaled_hw", "frame_hw", *names],
        outputs=[DETECTIONS.name],
        dynamic_axes=axes,
    )
    return onnx.load(path)
