"""`bench stages`: where the time of one clip goes, from the file to the verdict."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from deepfake_triton.benchmarks.measure.triton_statistics import ModelStatistics, TritonStatistics
from deepfake_triton.benchmarks.suite.benchmark import (
    BLUE,
    Benchmark,
    markdown_table,
)
from deepfake_triton.benchmarks.suite.clips import bench_clip
from deepfake_triton.client import DeepfakeClient, FrameBatch, FrameSelection, Transport, VideoVerdict
from deepfake_triton.client.verdicts.assembly import faces_from_answer
from deepfake_triton.client.verdicts.people import PersonLinker
from deepfake_triton.console.progress import track_progress
from deepfake_triton.contracts import DEFAULT_FRAMES, deepfake_detector, served_models
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.media.media_file import open_media
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer

STEPS = tuple(
    spec.name for spec in served_models() if spec.backend != "ensemble" and spec.name != "frame_decoder"
)
NETWORKS = tuple(spec.name for spec in served_models() if spec.backend == "onnxruntime")
STAGES = ("decode", "scale", "transport", *STEPS, "between steps", "client")
_WARM_UP = 3


@dataclass(frozen=True)
class StageTimes:
    """Durations of one clip in ms: by stage, and end to end."""

    stages_ms: Mapping[str, float]
    total_ms: float

    @property
    def unexplained_ms(self) -> float:
        """End-to-end time that no stage accounts for; negative where stages overlap."""
        return self.total_ms - sum(self.stages_ms.values())

    def to_json(self) -> dict[str, float]:
        """Return the JSON form, rounded to 1 µs."""
        stages = {stage: round(value, 3) for stage, value in self.stages_ms.items()}
        return {**stages, "total": round(self.total_ms, 3)}

    @classmethod
    def from_json(cls, data: Mapping[str, float]) -> StageTimes:
        """Read the JSON form."""
        return cls({stage: value for stage, value in data.items() if stage != "total"}, data["total"])


@dataclass(frozen=True)
class StagesResult:
    """Medians over all clips in ms, and the share of the time outside of the networks."""

    video: str
    frames: int
    transport: str
    median_ms: Mapping[str, float]
    total_ms: float
    unexplained_ms: float
    unexplained_share: float
    not_networks_share: float
    samples: tuple[StageTimes, ...]

    @classmethod
    def from_samples(
        cls, samples: Sequence[StageTimes], *, video: str, frames: int, transport: str
    ) -> StagesResult:
        """Summarize the times of several clips."""
        medians = {
            stage: float(np.median([sample.stages_ms[stage] for sample in samples])) for stage in STAGES
        }
        total = float(np.median([sample.total_ms for sample in samples]))
        unexplained = float(np.median([sample.unexplained_ms for sample in samples]))
        return cls(
            video=video,
            frames=frames,
            transport=transport,
            median_ms={stage: round(value, 2) for stage, value in medians.items()},
            total_ms=round(total, 2),
            unexplained_ms=round(unexplained, 2),
            unexplained_share=round(abs(unexplained) / total, 4),
            not_networks_share=round(1 - sum(medians[name] for name in NETWORKS) / total, 4),
            samples=tuple(samples),
        )

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "video": self.video,
            "frames": self.frames,
            "transport": self.transport,
            "median_ms": dict(self.median_ms),
            "total_ms": self.total_ms,
            "unexplained_ms": self.unexplained_ms,
            "unexplained_share": self.unexplained_share,
            "not_networks_share": self.not_networks_share,
            "samples": [sample.to_json() for sample in self.samples],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StagesResult:
        """Read the JSON form."""
        return cls(
            video=data["video"],
            frames=data["frames"],
            transport=data["transport"],
            median_ms=data["median_ms"],
            total_ms=data["total_ms"],
            unexplained_ms=data["unexplained_ms"],
            unexplained_share=data["unexplained_share"],
            not_networks_share=data["not_networks_share"],
            samples=tuple(map(StageTimes.from_json, data["samples"])),
        )

    def table(self) -> list[str]:
        """Return the lines of a Markdown table."""
        rows = [
            [stage, value, f"{value / self.total_ms:.1%}"]
            for stage, value in {**self.median_ms, "unexplained": self.unexplained_ms}.items()
        ]
        rows.append(["**end to end**", self.total_ms, ""])
        count = len(self.samples)
        head = f"{self.video}, {self.frames} frames, by {self.transport}; medians of {count}."
        return [head, "", *markdown_table(["stage", "ms", "share"], rows)]

    def plot(self, figure: Any) -> None:
        """Draw a bar for each stage."""
        axis = figure.subplots()
        axis.barh(list(self.median_ms)[::-1], list(self.median_ms.values())[::-1], color=BLUE)
        axis.set(xlabel="ms", title=f"where the {self.total_ms:.0f} ms of a clip go")


def run(args: argparse.Namespace) -> StagesResult:
    """Start a server of the repository, and time clips one after another."""
    transport, selection = Transport(args.transport), FrameSelection(DEFAULT_FRAMES)
    options = ServerOptions.on_free_ports(args.repository)
    with bench_clip(args.video) as video, TritonServer(options) as server:
        samples = measure_stages(server.url, video, selection, rounds=args.rounds, transport=transport)
    return StagesResult.from_samples(
        samples, video=video.name, frames=DEFAULT_FRAMES, transport=transport.value
    )


BENCHMARK = Benchmark(run, StagesResult.from_json)


def measure_stages(
    url: str, video: Path, selection: FrameSelection, *, rounds: int, transport: Transport
) -> list[StageTimes]:
    """Request the verdict on the first frames of the video `rounds` times, one after another.

    The time of each step, with its queue, is Triton's own figure; `transport` is the rest of the request, and
    `client` the client's own work on the answer, such as measuring the sharpness of the faces.
    """
    clip = decode_clip(video, selection).frames
    samples: list[StageTimes] = []
    with DeepfakeClient(url, transport=transport) as client, TritonStatistics(url) as statistics:
        for number in track_progress(range(_WARM_UP + rounds), "stages of a clip", "rounds"):
            decode_ms, scale_ms = decode_and_scale_ms(video, selection.num_frames)
            before = statistics.now()
            began = perf_counter()
            verdict = client.detect(video, selection)
            total_ms = 1000 * (perf_counter() - began)
            increase = statistics.since(before, deepfake_detector().name, 1)
            if number >= _WARM_UP:
                stages_ms = {
                    **_decoding_ms(verdict.latency_ms.decode, decode_ms, scale_ms),
                    **_inference_ms(verdict.latency_ms.infer, increase, _client_ms(clip, verdict)),
                }
                samples.append(StageTimes(stages_ms, total_ms))
    return samples


def _decoding_ms(both_ms: float, decode_ms: float, scale_ms: float) -> dict[str, float]:
    """Split what the client timed together by the shares of the two halves, timed alone."""
    alone_ms = decode_ms + scale_ms
    return {"decode": both_ms * decode_ms / alone_ms, "scale": both_ms * scale_ms / alone_ms}


def _inference_ms(
    infer_ms: float, increase: Mapping[str, ModelStatistics], client_ms: float
) -> dict[str, float]:
    counters = {name: increase.get(name, ModelStatistics()) for name in STEPS}  # older exports lack a step
    steps = {name: (counter.queue_ns + counter.compute_ns) / 1e6 for name, counter in counters.items()}
    server_ms = increase[deepfake_detector().name].total_ns / 1e6
    return {
        "transport": infer_ms - server_ms - client_ms,
        **steps,
        "between steps": server_ms - sum(steps.values()),
        "client": client_ms,
    }


def _client_ms(clip: FrameBatch, verdict: VideoVerdict) -> float:
    """Time the client's work on an answer by doing it again: quality, portraits, persons."""
    shape = (len(verdict.faces) or 1, len(clip))
    boxes, observed = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.bool_)
    for row, face in enumerate(verdict.faces):
        seen = np.isin(clip.pts_seconds, face.sightings[0].pts_seconds)
        boxes[row, seen], observed[row] = face.sightings[0].boxes, seen
    began = perf_counter()
    persons = PersonLinker()
    persons.add(faces_from_answer(clip, np.zeros((shape[0], 1), np.float32), boxes=boxes, observed=observed))
    persons.verdicts()
    return 1000 * (perf_counter() - began)


def decode_and_scale_ms(video: Path, frames: int) -> tuple[float, float]:
    """Time decoding and scaling apart, which the client times together."""
    decode_s = scale_s = 0.0
    with open_media(video) as media, media.reader() as reader:
        scaler, decoded = Scaler(reader.pixel_aspect), reader.frames()
        for _ in range(frames):
            began = perf_counter()
            frame = next(decoded, None)
            between = perf_counter()
            decode_s += between - began
            if frame is None:
                break
            scaler.to_rgb(frame)
            scale_s += perf_counter() - between
    return 1000 * decode_s, 1000 * scale_s
