"""Images, clips and checkpoints whose right answer is known by construction."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from deepfake_triton.arrays import Image
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.export.repository.configs import model_configs
from deepfake_triton.export.repository.layout import NewVersion
from deepfake_triton.models.metadata import PUBLISHED
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.repository.export_report import ExportReport

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 320, height: int = 240) -> Image:
    """Red, green / blue, white: shows which way up a image is."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, : width // 2] = BLUE
    image[height // 2 :, width // 2 :] = WHITE
    return image


def quarter_colors(image: Image) -> list[tuple[int, ...]]:
    """The four quarters' colors, each channel rounded to 0 or 255, row by row."""
    height, width = image.shape[:2]
    centers = [(height * y // 4, width * x // 4) for y in (1, 3) for x in (1, 3)]
    return [tuple(255 * (int(value) > 127) for value in image[center]) for center in centers]


def write_clip(
    path: Path,
    images: Sequence[Image],
    *,
    pts_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
    title: str | None = None,
    sound_seconds: float = 0,
) -> Path:
    """Encode images (RGB) as a video, 25 a second unless `pts_ms` says when each is shown."""
    pts_ms = pts_ms or [40 * index for index in range(len(images))]
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        if title:
            container.metadata["title"] = title
        stream: Any = container.add_stream(codec, rate=25, options=codec_options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        sound: Any = container.add_stream("aac", rate=44_100) if sound_seconds else None
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for image, pts in zip(images, pts_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            samples = np.zeros((1, int(44_100 * sound_seconds)), np.float32)
            silence = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            silence.sample_rate = 44_100
            container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return path


def backdrop(height: int, width: int, seed: int = 0) -> Image:
    """A faceless scene: soft noise, too coarse and too regular for a face."""
    noise = np.random.default_rng(seed).uniform(60, 190, (height // 40 + 1, width // 40 + 1, 3))
    image = cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def pasted(scene: Image, patch: Image, left: int, top: int) -> Image:
    """A copy of `scene` with `patch` at a known place, blended at its rim; what lies outside is cut off."""
    height, width = patch.shape[:2]
    ramp = np.minimum(np.arange(width), np.arange(width)[::-1]).astype(np.float32)
    rise = np.minimum(np.arange(height), np.arange(height)[::-1]).astype(np.float32)
    alpha = np.clip(np.minimum.outer(rise, ramp) / (0.08 * width), 0, 1)[..., None]
    x1, y1 = max(0, left), max(0, top)
    x2, y2 = min(scene.shape[1], left + width), min(scene.shape[0], top + height)
    result = scene.copy()
    if x1 < x2 and y1 < y2:
        inside = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        below = result[y1:y2, x1:x2].astype(np.float32)
        mixed = alpha[inside] * patch[inside] + (1 - alpha[inside]) * below
        result[y1:y2, x1:x2] = np.asarray(np.rint(mixed), np.uint8)
    return result


def settled(read: Callable[[], Any], quiet_s: float = 0.5, timeout_s: float = 20) -> Any:
    """A reading that has stopped changing: Triton's statistics follow its answers with a delay."""
    deadline = time.monotonic() + timeout_s
    value = read()
    while time.monotonic() < deadline:
        time.sleep(quiet_s)
        if (again := read()) == value:
            return value
        value = again
    raise TimeoutError(f"still changing after {timeout_s} s: {value}")


def written_graph(text: str, path: Path) -> Path:
    """A graph in ONNX's text format as a file, its nodes named `add_0`, `relu_1`, …"""
    import onnx
    from onnx import parser

    model = parser.parse_model(text)
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}_{index}"
    onnx.save(model, str(path))
    return path


def new_version(folder: Path, version: int, *, detection_interval: int = 1) -> NewVersion:
    """An export whose graphs are a few letters, for what happens to files."""
    files = {}
    sampler = ("frame_sampler",) if detection_interval > 1 else ()
    for name in ("face_detector", "feature_extractor", "sequence_classifier", *sampler):
        path = folder / f"{name}-{version}.onnx"
        path.write_text(f"{name} {version}")
        files[name] = {"model.onnx": path}
    return NewVersion(
        version=version,
        graph_files=files,
        crop_rule=PUBLISHED.crop_rule,
        configs=model_configs(
            PUBLISHED,
            version,
            weights="custom",
            export_sha256="ab" * 32,
            detection_interval=detection_interval,
        ),
        report=ExportReport(version),
        detection_interval=detection_interval,
    )


def overlap(box: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (areas - width * height)


class PublishedModel(nn.Module):
    """The published ResNeXt+LSTM, with its five surprises: the constructor and the order of the layers."""

    def __init__(self, backbone: ResNeXt50) -> None:
        super().__init__()
        children = dict(backbone.named_children())
        order = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        self.model = nn.Sequential(*(children[name] for name in order))
        self.lstm = nn.LSTM(2048, 2048, 1, False)
        self.linear1 = nn.Linear(2048, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: torch.Tensor, pool: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        """[1, T, 3, 112, 112] normalized to (features [1, T, 2048], logits [1, 2]: fake, real)."""
        batch, frames = images.shape[:2]
        maps = self.model(images.flatten(0, 1))
        features = self.avgpool(maps).view(batch, frames, 2048)
        states, _ = self.lstm(features, None)  # no batch_first: time runs over the batch
        return features, self.linear1(pool(states))

    def predict(self, faces_rgb: Image, pooling: str = "last") -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """One video's crops [T, 112, 112, 3] RGB to features [T, 2048] and logits (real, fake)."""
        bgr = torch.from_numpy(faces_rgb[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # in that order, on B, G, R
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        pools = {"last": lambda states: states[:, -1, :], "mean": lambda states: torch.mean(states, dim=1)}
        with torch.inference_mode():
            features, logits = self(((bgr - mean) / std)[None], pools[pooling])
        return features[0].numpy(), logits[0].numpy()[::-1].copy()


def lively_published_model(faces: Image, seed: int = 7) -> PublishedModel:
    """Random weights whose logits vary by 4 over `faces` [N, 112, 112, 3], as trained ones do."""
    torch.manual_seed(seed)
    model = PublishedModel(ResNeXt50())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in")
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.4, 0.8)
                module.bias.normal_(0, 0.1)
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.8, 1.2)
        for weights in model.lstm.parameters():
            weights.normal_(0, 0.05)
        model.linear1.weight.normal_(0, 0.3)
        model.eval()
        logits = np.stack([model.predict(face[None])[1][::-1] for face in faces])
        scale = 4 / np.ptp(logits, axis=0).min()
        model.linear1.bias.sub_(torch.tensor(logits.mean(axis=0))).mul_(float(scale))
        model.linear1.weight.mul_(float(scale))
    return model


def run_without_fusions(model: onnx.ModelProto, feed: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The graph's only output, with INT8 computed exactly also by CPUs that cut sums off when they fuse."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run(None, dict(feed))
    return np.asarray(answer)


OTHER_USER = 65534
"""Nobody, as a user of the host whose files are not ours."""


def as_other_user(action: Callable[[], object]) -> str:
    """What an action of another user returns or raises."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(OTHER_USER)
            os.setuid(OTHER_USER)
            os.write(writer, str(action()).encode())
        except DeepfakeError as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


class Killed(BaseException):
    """Stands for SIGKILL; whatever the handlers of it try to rename fails as well."""


def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have the process seem killed at its `count`-th rename: nothing is done after it."""
    renames = iter(range(1, count + 1))

    def stopped(name: str) -> None:
        original = getattr(Path, name)

        def moved(self: Path, target: Path) -> Path:
            if next(renames, count) >= count:
                raise Killed
            result: Path = original(self, target)
            return result

        monkeypatch.setattr(Path, name, moved)

    stopped("rename")
    stopped("replace")
