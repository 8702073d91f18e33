"""Export in INT8 for OpenVINO, fitted to faces in your own videos, and show what that cost.

Run: python examples/quantize_int8.py fast my_videos/
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deepfake_triton import cli


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("calibration", nargs="+", help="videos, photos, or folders of them")
    parser.add_argument("--samples", default="256", help="faces to calibrate on")
    args = parser.parse_args()
    options = ["--precision", "int8", "--accelerator", "openvino", "--calibration-samples", args.samples]
    status = cli.main(
        ["export", "--output", str(args.repository), *options, "--calibration", *args.calibration]
    )
    if status == 0:
        report = json.loads((args.repository / "export_report.json").read_text())
        print(json.dumps(report["parity"], indent=2))
    return status


if __name__ == "__main__":
    sys.exit(main())
