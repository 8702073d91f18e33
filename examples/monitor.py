"""Show whether a server is ready, and what its models have done, from Triton's health and metrics endpoints.

Run: python examples/monitor.py --http localhost:8000 --metrics localhost:8002
"""

from __future__ import annotations

import argparse
import re
import sys
import urllib.error
import urllib.request
from collections import defaultdict

_SAMPLE = re.compile(
    r'^(?P<metric>nv_\w+)\{.*?model="(?P<model>\w+)".*?\} (?P<value>[\d.e+]+)$', re.MULTILINE
)


def is_ready(address: str) -> bool:
    """Whether every model of the server at `address` is loaded and takes requests."""
    try:
        with urllib.request.urlopen(f"http://{address}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def totals(text: str) -> dict[tuple[str, str], float]:
    """Sum Prometheus samples by metric and model."""
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for sample in _SAMPLE.finditer(text):
        sums[sample["metric"], sample["model"]] += float(sample["value"])
    return sums


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", default="localhost:8000")
    parser.add_argument("--metrics", default="localhost:8002")
    args = parser.parse_args()
    if not is_ready(args.http):
        print(f"{args.http}: not ready")
        return 1
    with urllib.request.urlopen(f"http://{args.metrics}/metrics", timeout=5) as answer:
        sums = totals(answer.read().decode())
    print(f"{'model':<24}{'answered':>10}{'failed':>8}{'queue ms':>10}{'compute ms':>12}")
    for model in sorted({model for _, model in sums}):
        answered = sums["nv_inference_request_success", model]
        failed = sums["nv_inference_request_failure", model]
        queue_ms, compute_ms = (
            sums[f"nv_inference_{part}_duration_us", model] / 1000 / max(answered, 1)
            for part in ("queue", "compute_infer")
        )
        print(f"{model:<24}{answered:>10.0f}{failed:>8.0f}{queue_ms:>10.1f}{compute_ms:>12.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
