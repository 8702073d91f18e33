"""Pre- and postprocessing of CenterFace as ONNX graphs: letterbox, and decoding with top-K.

Written in onnxscript: an inner function is a graph, its variables are tensor names. TensorRT sets two rules:
uint8 goes straight into a Cast, and arithmetic on shapes stays in integers.
"""

from __future__ import annotations

import onnx
from onnxscript import FLOAT, INT64, UINT8, script
from onnxscript import opset17 as op

from deepfake_triton.contracts import CANDIDATES, MIN_CANDIDATE_SCORE

STRIDE = 4.0
"""Pixels of the scaled frame per cell of CenterFace's output maps."""
SIDE_MULTIPLE = 32
_TO_FLOAT = onnx.TensorProto.FLOAT


def letterbox_graph(detector_size: int) -> onnx.ModelProto:
    """Return the graph from `frames` uint8 [N, H, W, 3] to `picture`, `scaled_hw` and `frame_hw`.

    `picture` is float32 [N, 3, h, w] in 0…255: the long side is scaled to `detector_size` px, keeping the
    aspect ratio, and zeros pad each side to a multiple of 32. `scaled_hw` and `frame_hw` are int64 [2].
    """

    @script(default_opset=op)
    def letterbox(frames: UINT8["N", "H", "W", 3]) -> tuple[FLOAT["N", 3, "h", "w"], INT64[2], INT64[2]]:
        pixels = op.Transpose(op.Cast(frames, to=_TO_FLOAT), perm=[0, 3, 1, 2])
        shape = op.Shape(pixels)
        frame_hw = op.Slice(shape, op.Constant(value_ints=[2]), op.Constant(value_ints=[4]))
        long_side = op.ReduceMax(frame_hw, axes=[0], keepdims=1)
        enlarged = frame_hw * op.Constant(value_int=detector_size)
        rounded = (enlarged + long_side / op.Constant(value_int=2)) / long_side
        scaled_hw = op.Max(rounded, op.Constant(value_ints=[1]))
        batch_channels = op.Slice(shape, op.Constant(value_ints=[0]), op.Constant(value_ints=[2]))
        scaled = op.Resize(
            pixels,
            None,
            None,
            op.Concat(batch_channels, scaled_hw, axis=0),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        multiple = op.Constant(value_int=SIDE_MULTIPLE)
        blocks = (scaled_hw + op.Constant(value_int=SIDE_MULTIPLE - 1)) / multiple
        pad_hw = blocks * multiple - scaled_hw
        picture = op.Pad(scaled, op.Concat(op.Constant(value_ints=[0, 0, 0, 0, 0, 0]), pad_hw, axis=0), 0.0)
        return picture, scaled_hw, frame_hw

    return letterbox.to_model_proto()


def decode_graph() -> onnx.ModelProto:
    """Return the graph from CenterFace's four maps [N, C, r, c] to `detections` float32 [N, K, 15] in px.

    A candidate is a local maximum of the score in a neighborhood of 3×3 cells. The maps hold y before x, the
    logarithm of the size in strides, and landmarks as fractions of the box. Boxes are clipped to the frame.
    """

    @script(default_opset=op)
    def decode(  # noqa: PLR0917 - the inputs of the graph
        score_map: FLOAT["N", 1, "r", "c"],
        size_map: FLOAT["N", 2, "r", "c"],
        offset_map: FLOAT["N", 2, "r", "c"],
        landmark_map: FLOAT["N", 10, "r", "c"],
        scaled_hw: INT64[2],
        frame_hw: INT64[2],
    ) -> FLOAT["N", 32, 15]:
        best_near = op.MaxPool(score_map, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        peaks = op.Where(score_map == best_near, score_map, 0.0)
        flat_peaks = op.Reshape(peaks, op.Constant(value_ints=[0, -1]))
        scores, cells = op.TopK(flat_peaks, op.Constant(value_ints=[CANDIDATES]), axis=1)

        columns = op.Slice(op.Shape(score_map), op.Constant(value_ints=[3]), op.Constant(value_ints=[4]))
        rows = cells / columns
        one = op.Constant(value_ints=[1])
        row = op.Unsqueeze(op.Cast(rows, to=_TO_FLOAT), one)
        column = op.Unsqueeze(op.Cast(cells - rows * columns, to=_TO_FLOAT), one)

        maps = op.Concat(size_map, offset_map, landmark_map, axis=1)
        flat_maps = op.Reshape(maps, op.Constant(value_ints=[0, 14, -1]))
        in_each_map = op.Tile(op.Unsqueeze(cells, one), op.Constant(value_ints=[1, 14, 1]))
        values = op.GatherElements(flat_maps, in_each_map, axis=2)
        size_yx, offset_y, offset_x, marks_yx = op.Split(
            values, op.Constant(value_ints=[2, 1, 1, 10]), axis=1
        )

        ratio_hw = op.Cast(frame_hw, to=_TO_FLOAT) / op.Cast(scaled_hw, to=_TO_FLOAT)
        xy = op.Constant(value_ints=[1, 0])
        ratio_xy = op.Unsqueeze(op.Gather(ratio_hw, xy, axis=0), one)
        frame_xy = op.Unsqueeze(op.Cast(op.Gather(frame_hw, xy, axis=0), to=_TO_FLOAT), one)
        size_xy = op.Gather(op.Exp(size_yx) * STRIDE, xy, axis=1) * ratio_xy
        centre = (op.Concat(column + offset_x, row + offset_y, axis=1) + 0.5) * STRIDE * ratio_xy
        low = centre - size_xy * 0.5
        corners = op.Concat(low, low + size_xy, axis=1)
        limits = op.Concat(frame_xy, frame_xy, axis=0)
        boxes = op.Min(op.Max(corners, 0.0), limits)

        five = op.Constant(value_ints=[1, 5, 1])
        marks_xy = op.Gather(marks_yx, op.Constant(value_ints=[1, 0, 3, 2, 5, 4, 7, 6, 9, 8]), axis=1)
        landmarks = marks_xy * op.Tile(size_xy, five) + op.Tile(low, five)

        fields = op.Concat(boxes, op.Unsqueeze(scores, one), landmarks, axis=1)
        enough = op.Unsqueeze(scores >= MIN_CANDIDATE_SCORE, op.Constant(value_ints=[2]))
        detections = op.Where(enough, op.Transpose(fields, perm=[0, 2, 1]), 0.0)
        return detections  # noqa: RET504 - the name is the graph's output

    return decode.to_model_proto()
