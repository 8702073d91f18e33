"""Ask the gateway for a verdict over gRPC: detector.proto and `grpcio-tools`, nothing else of this project.

Run: python examples/gateway_grpc.py interview.mp4 --url 127.0.0.1:8081
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

CHUNK_BYTES = 256 * 1024

# Stubs are made while this runs. A program of yours makes them once:
# python -m grpc_tools.protoc -I gateway/grpc_service --python_out=. --grpc_python_out=. detector.proto
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gateway/grpc_service"))
messages, services = grpc.protos_and_services("detector.proto")


def requests_of(video: Path, windows: int) -> Iterator[Any]:
    """Yield the options, then the file in chunks, as it is."""
    options = messages.Options(file_name=video.name, size_bytes=video.stat().st_size, windows=windows)
    yield messages.DetectRequest(options=options)
    with video.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield messages.DetectRequest(chunk=chunk)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--url", default="127.0.0.1:8081")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--api-key")
    args = parser.parse_args()
    metadata = [("authorization", f"Bearer {args.api_key}")] if args.api_key else []
    with grpc.insecure_channel(args.url) as channel:
        detector = services.DetectorStub(channel)
        try:
            for event in detector.Detect(
                requests_of(args.video, args.windows), metadata=metadata, timeout=600
            ):
                show(event)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata())
            print(f"{trailers.get('error-type', error.code().name)}: {error.details()}", file=sys.stderr)
            return 1
    return 0


def show(event: Any) -> None:
    """Print one event."""
    if event.HasField("queued"):
        print("queued, place", event.queued.position)
    elif event.HasField("window"):
        window = event.window
        probability = f"{window.fake_probability:.3f}" if window.HasField("fake_probability") else "no face"
        print(f"{window.start_seconds:.2f}–{window.end_seconds:.2f} s  {probability}")
    elif event.HasField("verdict"):
        verdict = event.verdict
        mean = verdict.fake_probability if verdict.HasField("fake_probability") else None
        print(messages.Verdict.Name(verdict.verdict), mean, verdict.reason)
        for face in verdict.faces:
            print(f"person {face.track}: seen in {face.frames_observed} of {verdict.frames_decoded} frames")


if __name__ == "__main__":
    sys.exit(main())
