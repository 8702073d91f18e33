"""Baseline: a minimal FastAPI service over ONNX Runtime.

Run: python -m deepfake_triton.benchmarks.baselines.fastapi_service REPOSITORY PORT [--micro-batching]
"""

from __future__ import annotations

import argparse
import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request

from deepfake_triton.arrays import Frames
from deepfake_triton.benchmarks.baselines.in_process import onnxruntime_pipeline
from deepfake_triton.benchmarks.baselines.repositories import read_served_version
from deepfake_triton.models.local_pipeline import LocalPipeline
from deepfake_triton.preprocessing.video.clip import decode_clip

_MAX_CLIPS, _MAX_WAIT_S = 4, 0.005


class Batcher:
    """Batches clips that arrive within a few milliseconds."""

    def __init__(self, pipeline: LocalPipeline, pool: ThreadPoolExecutor) -> None:
        self._pipeline, self._pool = pipeline, pool
        self._queue: asyncio.Queue[tuple[Frames, asyncio.Future[float]]] = asyncio.Queue()

    async def predict(self, frames: Frames) -> float:
        """Return the probability of FAKE for one clip."""
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        await self._queue.put((frames, answer))
        return await answer

    async def run(self) -> None:
        """Answer clips until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            deadline = loop.time() + _MAX_WAIT_S
            while len(batch) < _MAX_CLIPS and (left_s := deadline - loop.time()) > 0:
                try:
                    batch.append(await asyncio.wait_for(self._queue.get(), left_s))
                except asyncio.TimeoutError:
                    break
            clips = [frames for frames, _ in batch]
            found = await loop.run_in_executor(self._pool, self._pipeline.highest_probabilities, clips)
            for (_, answer), probability in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(probability)


def build_app(repository: Path, *, micro_batching: bool) -> FastAPI:
    """Return an app whose `POST /predict` takes a video file and answers with the probability of FAKE."""
    app = FastAPI()
    pipeline = onnxruntime_pipeline(read_served_version(repository))
    pool = ThreadPoolExecutor(1)  # the networks use all cores by themselves
    batcher = Batcher(pipeline, pool)
    tasks: set[asyncio.Task[None]] = set()

    @app.post("/predict")
    async def predict_video(request: Request) -> dict[str, float]:
        body = await request.body()
        clip = await asyncio.to_thread(decode_clip, io.BytesIO(body))
        if not micro_batching:
            found = await asyncio.get_running_loop().run_in_executor(
                pool, pipeline.highest_probabilities, [clip.frames.data]
            )
            return {"fake_probability": found[0]}
        if not tasks:
            tasks.add(asyncio.create_task(batcher.run()))
        return {"fake_probability": await batcher.predict(clip.frames.data)}

    return app


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--micro-batching", action="store_true")
    args = parser.parse_args()
    uvicorn.run(
        build_app(args.repository, micro_batching=args.micro_batching),
        host="127.0.0.1",
        port=args.port,
        log_level="error",
        timeout_keep_alive=3600,
    )


if __name__ == "__main__":
    main()
