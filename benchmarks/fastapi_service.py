"""A plain FastAPI service over ONNX Runtime, as a good engineer would write it in an afternoon.

Run: python -m deepfake_triton.benchmarks.fastapi_service REPOSITORY PORT [--micro-batching]
"""

from __future__ import annotations

import argparse
import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI, Request

from deepfake_triton.benchmarks.in_process import InProcess, in_onnxruntime
from deepfake_triton.benchmarks.repositories import exported
from deepfake_triton.preprocessing.video import decode_clip

_MOST_CLIPS, _WAIT_S = 4, 0.005

Frames = npt.NDArray[np.uint8]


class Batcher:
    """Puts clips together that arrive within a few milliseconds."""

    def __init__(self, judge: InProcess, pool: ThreadPoolExecutor) -> None:
        self.judge, self.pool = judge, pool
        self.waiting: asyncio.Queue[tuple[Frames, asyncio.Future[float]]] = asyncio.Queue()

    async def ask(self, frames: Frames) -> float:
        """The probability for one clip."""
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        await self.waiting.put((frames, answer))
        return await answer

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.waiting.get()]
            until = loop.time() + _WAIT_S
            while len(batch) < _MOST_CLIPS and (left := until - loop.time()) > 0:
                try:
                    batch.append(await asyncio.wait_for(self.waiting.get(), left))
                except asyncio.TimeoutError:
                    break
            clips = [frames for frames, _ in batch]
            found = await loop.run_in_executor(self.pool, self.judge.probabilities, clips)
            for (_, answer), probability in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(probability)


def service(repository: Path, micro_batching: bool) -> FastAPI:
    """`POST /judge` takes a video file and answers with the probability of FAKE."""
    app = FastAPI()
    judge = in_onnxruntime(exported(repository))
    pool = ThreadPoolExecutor(1)  # the networks use all cores by themselves
    batcher = Batcher(judge, pool)
    tasks: set[asyncio.Task[None]] = set()

    @app.post("/judge")
    async def judge_video(request: Request) -> dict[str, float]:
        body = await request.body()
        clip = await asyncio.to_thread(decode_clip, io.BytesIO(body))
        if not micro_batching:
            found = await asyncio.get_running_loop().run_in_executor(
                pool, judge.probabilities, [clip.frames.data]
            )
            return {"fake_probability": found[0]}
        if not tasks:
            tasks.add(asyncio.create_task(batcher.run()))
        return {"fake_probability": await batcher.ask(clip.frames.data)}

    return app


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--micro-batching", action="store_true")
    args = parser.parse_args()
    uvicorn.run(
        service(args.repository, args.micro_batching),
        host="127.0.0.1",
        port=args.port,
        log_level="error",
        timeout_keep_alive=3600,
    )


if __name__ == "__main__":
    main()
