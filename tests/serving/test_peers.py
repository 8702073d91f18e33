"""Clients with nothing of ours: NVIDIA's KServe-v2 client and perf_analyzer, in their own environment."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from paths import ROOT

from deepfake_triton.serving.installation.find import find_installation
from deepfake_triton.serving.server import ServerOptions, TritonServer

PEER = ROOT / ".venv-peer" / "bin"
ASK = """
import json, sys
import numpy as np
import tritonclient.grpc as grpc
assert not any(name.startswith("deepfake") for name in sys.modules)
with grpc.InferenceServerClient(sys.argv[1]) as connection:
    metadata = connection.get_model_metadata("deepfake_detector", as_json=True)
    (spec,) = metadata["inputs"]
    frames = np.random.default_rng(0).integers(0, 255, (6, 90, 160, 3), np.uint8)
    tensor = grpc.InferInput(spec["name"], list(frames.shape), spec["datatype"])
    tensor.set_data_from_numpy(frames)
    answer = connection.infer("deepfake_detector", [tensor])
    outputs = {output["name"]: answer.as_numpy(output["name"]).tolist() for output in metadata["outputs"]}
print(json.dumps(outputs))
"""
OVER_HTTP = """
import json, sys, urllib.request
frames = [[[[7, 7, 7]] * 64] * 48] * 2
body = {"inputs": [{"name": "frames", "datatype": "UINT8", "shape": [2, 48, 64, 3], "data": frames}]}
url = sys.argv[1] + "/v2/models/deepfake_detector/infer"
request = urllib.request.Request(url, json.dumps(body).encode())
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not PEER.is_dir(), reason=".venv-peer is missing: make test builds it"),
]


def peer_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(PEER / "python"), "-I", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_contract_is_tritons_own(published_server: TritonServer) -> None:
    outputs = json.loads(peer_python(ASK, published_server.url))
    assert set(outputs) == {"fake_probability", "boxes", "observed", "faces_left_out"}
    assert outputs["observed"] == [[False]] and outputs["boxes"] == [[[0, 0, 0, 0]]]
    assert math.isnan(outputs["fake_probability"][0][0]) and outputs["faces_left_out"] == [0]


def test_http_works_as_well_where_it_was_opened(published_repository: Path) -> None:
    options = replace(ServerOptions.on_free_ports(published_repository), http_inference=True)
    with TritonServer(options) as server:
        base = f"http://127.0.0.1:{server.http_port}"
        outputs = {entry["name"]: entry for entry in json.loads(peer_python(OVER_HTTP, base))["outputs"]}
    assert outputs["observed"]["shape"] == [1, 1] and outputs["fake_probability"]["datatype"] == "FP32"


def test_perf_analyzer_measures_the_ensemble(published_server: TritonServer, tmp_path: Path) -> None:
    """The real perf_analyzer, with a CUDA runtime beside it that it only links against."""
    libraries = find_installation().libraries
    (cudart,) = libraries.glob("libcudart-*.so.12*")
    shutil.copy(cudart, tmp_path / "libcudart.so.12")
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{tmp_path}:{libraries}"}
    command = [
        str(PEER / "perf_analyzer"), "-m", "deepfake_detector", "-i", "grpc", "-u", published_server.url,
        "--shape", "frames:4,180,320,3", "--concurrency-range", "2", "--measurement-mode", "count_windows",
        "--measurement-request-count", "10", "--max-trials", "3", "--stability-percentage", "90",
        "-f", str(tmp_path / "latency.csv"),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if "libb64" in done.stderr:
        pytest.skip("perf_analyzer needs Debian's libb64-0d: make system-deps")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = csv.DictReader((tmp_path / "latency.csv").open())
    assert row["Concurrency"] == "2" and float(row["Inferences/Second"]) > 0
    assert "Composing models" in done.stdout and "face_tracker" in done.stdout
