"""Ask the gateway for a verdict over REST, with an HTTP library and nothing of this project.

Run: python examples/gateway_rest.py interview.mp4 --url http://127.0.0.1:8080
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import httpx


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--api-key")
    args = parser.parse_args()
    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    with (
        httpx.Client(base_url=args.url, headers=headers, timeout=600) as gateway,
        args.video.open("rb") as file,
    ):
        answer = gateway.post(
            "/v1/detect",
            params={"windows": args.windows},
            files={"file": (args.video.name, file)},  # read while it is sent
        )
    if answer.is_error:
        problem = answer.json()
        print(f"{problem['error']}: {problem['detail']}", file=sys.stderr)
        return 1
    verdict = answer.json()
    print(verdict["verdict"], verdict["fake_probability"], verdict["reason"] or "")
    for face in verdict["faces"]:
        print(f"person {face['track']}: {face['verdict']}, seen in {face['frames_observed']} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
