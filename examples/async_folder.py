"""Judge a folder of videos with asyncio, several at once; a video that fails costs the others nothing.

Run: python examples/async_folder.py videos/ --url localhost:8001
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from deepfake_triton.client import AsyncDeepfakeClient, RetryPolicy
from deepfake_triton.errors import InputError, ServerError

AT_ONCE = 4


async def judge(client: AsyncDeepfakeClient, video: Path, places: asyncio.Semaphore) -> str:
    async with places:
        try:
            verdict = await client.detect(video)
        except InputError as error:  # the file: no retry helps
            return f"{video.name}: cannot be judged: {error}"
        except ServerError as error:  # the client has retried already, until its deadline
            return f"{video.name}: no answer: {error}"
    return f"{video.name}: {verdict.verdict.value} {verdict.fake_probability}"


async def judge_folder(folder: Path, url: str) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    async with AsyncDeepfakeClient(url, timeout_s=120, retry=RetryPolicy(attempts=5)) as client:
        videos = sorted(path for path in folder.iterdir() if path.is_file())
        for line in await asyncio.gather(*(judge(client, video, places) for video in videos)):
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="localhost:8001")
    args = parser.parse_args()
    asyncio.run(judge_folder(args.folder, args.url))


if __name__ == "__main__":
    main()
