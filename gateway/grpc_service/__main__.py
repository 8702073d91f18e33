"""Compile detector.proto to the descriptors beside it; needs grpcio-tools."""

from __future__ import annotations

import sys
from pathlib import Path

from deepfake_triton.gateway.grpc_service.messages import DESCRIPTORS


def compile_descriptors(output: Path) -> int:
    """Write the descriptors of detector.proto, without its comments; return protoc's exit status."""
    from grpc_tools import protoc

    folder = Path(__file__).parent
    return int(protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={output}", "detector.proto"]))


if __name__ == "__main__":
    sys.exit(compile_descriptors(Path(__file__).with_name(DESCRIPTORS)))
