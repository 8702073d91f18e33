"""Print the verdict on one video, and on every person in it.

Run: python examples/one_video.py interview.mp4 --url localhost:8001
"""

from __future__ import annotations

import argparse

from deepfake_triton.client import DeepfakeClient, FrameSelection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--url", default="localhost:8001")
    parser.add_argument("--windows", type=int, default=4)
    args = parser.parse_args()
    with DeepfakeClient(args.url, timeout_s=120) as client:
        verdict = client.detect(args.video, FrameSelection(windows=args.windows))
    print(verdict.verdict.value, verdict.fake_probability, verdict.reason or "")
    for face in verdict.faces:
        print(f"person {face.track}: seen in {face.frames_observed} of {verdict.frames_decoded} frames")
        for segment in face.segments:
            span = f"{segment.start_seconds:.2f}–{segment.end_seconds:.2f} s"
            print(f"  {span}  {segment.fake_probability:.3f}")


if __name__ == "__main__":
    main()
