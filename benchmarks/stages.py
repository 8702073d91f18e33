"""Where the time of one clip goes, from the file to the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from deepfake_triton.benchmarks.triton_work import TritonWork
from deepfake_triton.client import DeepfakeClient, FrameBatch, FrameSelection, Transport, VideoVerdict
from deepfake_triton.client.persons import Persons
from deepfake_triton.client.verdict import faces_from_answer
from deepfake_triton.contracts import deepfake_detector, served_models
from deepfake_triton.preprocessing.pictures import Scaler
from deepfake_triton.preprocessing.reader import opened
from deepfake_triton.preprocessing.video import decode_clip

STEPS = tuple(
    spec.name for spec in served_models() if spec.backend != "ensemble" and spec.name != "frame_decoder"
)
STAGES = ("decode", "scale", "transport", *STEPS, "between steps", "client")
_WARM_UP = 3


@dataclass(frozen=True)
class StageTimes:
    """One clip: milliseconds by stage, and from end to end; what no stage explains is the difference."""

    stages_ms: dict[str, float]
    total_ms: float

    @property
    def unexplained_ms(self) -> float:
        """May be less than 0, where stages overlap."""
        return self.total_ms - sum(self.stages_ms.values())


def measure_stages(url: str, video: Path, frames: int, rounds: int, transport: Transport) -> dict[str, Any]:
    """Ask `rounds` times for the verdict on the first frames of the video, one after another.

    Triton says what its steps took, each with the time in its queue; `transport` is what the request took
    besides, and `client` is what the client does with the answer, such as looking at the faces' sharpness.
    """
    selection = FrameSelection(frames)
    clip = decode_clip(video, selection).frames
    work = TritonWork(url)
    taken: list[StageTimes] = []
    with DeepfakeClient(url, transport=transport) as client:
        for number in range(_WARM_UP + rounds):
            times = _one(client, work, video, selection, clip)
            if number >= _WARM_UP:
                taken.append(times)
    work.close()
    return _summary(taken, video, frames, transport)


def _one(
    client: DeepfakeClient, work: TritonWork, video: Path, selection: FrameSelection, clip: FrameBatch
) -> StageTimes:
    decode_ms, scale_ms = decode_and_scale_ms(video, selection.num_frames)
    before = work.now()
    began = perf_counter()
    verdict = client.detect(video, selection)
    total_ms = 1000 * (perf_counter() - began)
    done = work.since(before, deepfake_detector().name, 1)
    steps = {name: (done[name].queue_ns + done[name].compute_ns) / 1e6 for name in STEPS}
    inside_ms = done[deepfake_detector().name].total_ns / 1e6
    shares = decode_ms + scale_ms
    latency = verdict.latency_ms
    answer_ms = _answer_ms(clip, verdict)
    return StageTimes(
        {
            "decode": latency.decode * decode_ms / shares,
            "scale": latency.decode * scale_ms / shares,
            "transport": latency.infer - inside_ms - answer_ms,
            **steps,
            "between steps": inside_ms - sum(steps.values()),
            "client": answer_ms,
        },
        total_ms,
    )


def _answer_ms(clip: FrameBatch, verdict: VideoVerdict) -> float:
    """What the client does with an answer, done again: evidence, portraits, persons."""
    shape = (len(verdict.faces) or 1, len(clip))
    boxes, observed = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.bool_)
    for row, face in enumerate(verdict.faces):
        seen = np.isin(clip.pts_seconds, face.sightings[0].pts_seconds)
        boxes[row, seen], observed[row] = face.sightings[0].boxes, seen
    began = perf_counter()
    persons = Persons()
    persons.add(faces_from_answer(clip, np.zeros((shape[0], 1), np.float32), boxes, observed))
    persons.verdicts()
    return 1000 * (perf_counter() - began)


def decode_and_scale_ms(video: Path, frames: int) -> tuple[float, float]:
    """The two halves of getting frames out of a file, which the client times together."""
    decode_s = scale_s = 0.0
    with opened(video) as media, media.reader() as reader:
        scaler, decoded = Scaler(reader.pixel_aspect), reader.frames()
        for _ in range(frames):
            began = perf_counter()
            frame = next(decoded, None)
            between = perf_counter()
            decode_s += between - began
            if frame is None:
                break
            scaler.picture(frame)
            scale_s += perf_counter() - between
    return 1000 * decode_s, 1000 * scale_s


def _summary(taken: list[StageTimes], video: Path, frames: int, transport: Transport) -> dict[str, Any]:
    medians = {stage: float(np.median([each.stages_ms[stage] for each in taken])) for stage in STAGES}
    total = float(np.median([each.total_ms for each in taken]))
    unexplained = float(np.median([each.unexplained_ms for each in taken]))
    networks = sum(medians[name] for name in STEPS if name != "face_tracker")
    return {
        "video": video.name,
        "frames": frames,
        "transport": transport.value,
        "median_ms": {stage: round(value, 2) for stage, value in medians.items()},
        "total_ms": round(total, 2),
        "unexplained_ms": round(unexplained, 2),
        "unexplained_share": round(abs(unexplained) / total, 4),
        "not_networks_share": round(1 - networks / total, 4),
        "samples": [
            {
                **{stage: round(value, 3) for stage, value in each.stages_ms.items()},
                "total": round(each.total_ms, 3),
            }
            for each in taken
        ],
    }
