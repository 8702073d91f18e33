"""The examples that call the gateway, each as its first lines say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from detector_calls import without_nulls
from paths import ROOT
from running_gateway import running_gateway

from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.json_object import JsonObject
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Asked:
    """Addresses of a gateway, and a key that it asks for."""

    rest: str
    grpc: str
    key: str


@pytest.fixture(scope="module")
def gateway(published_server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    key = create_key(keys, "examples")
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=0, api_keys=keys)
    with running_gateway(settings) as listening:
        yield Asked(listening.url, str(listening.grpc), key)


@pytest.fixture(scope="module")
def expected(published_server: TritonServer, clip_path: Path) -> JsonObject:
    """What `detect --json` says about two windows of the clip."""
    command = (sys.executable, "-m", "deepfake_triton", "detect", "--json", "--windows", 2)
    line: JsonObject = json.loads(run(*command, "--url", published_server.url, clip_path).stdout)
    return line


def run(*command: object, folder: Path | None = None, key: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "API_KEY": key}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def comparable(answer: Any) -> Any:
    return without_nulls({key: answer[key] for key in answer if key not in ("video", "latency_ms", "error")})


def test_curl(gateway: Asked, clip_path: Path, expected: JsonObject) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    done = run(EXAMPLES / "curl.sh", clip_path, gateway.rest, key=gateway.key)
    assert done.returncode == 0, done.stderr
    first, *_, last = (line for line in done.stdout.splitlines() if line)
    answer = json.loads(first)
    assert answer["video"] == clip_path.name and comparable(answer) == comparable(expected)
    assert [line for line in done.stdout.splitlines() if line.startswith("event: ")][-1] == "event: verdict"
    assert comparable(json.loads(last)["result"]) == comparable(expected)
    refused = run(EXAMPLES / "curl.sh", clip_path, gateway.rest, key="wrong")
    assert refused.returncode != 0 and json.loads(refused.stdout)["error"] == "Unauthenticated"


@pytest.mark.parametrize("name", ["gateway_rest.py", "gateway_grpc.py"])
def test_python(gateway: Asked, clip_path: Path, expected: JsonObject, name: str) -> None:
    url = gateway.rest if name == "gateway_rest.py" else gateway.grpc
    access = ("--url", url, "--api-key", gateway.key)
    done = run(sys.executable, EXAMPLES / name, clip_path, *access, "--windows", 2)
    assert done.returncode == 0, done.stderr
    found = re.search(r"^(FAKE|REAL|INCONCLUSIVE) (\S+)", done.stdout, re.MULTILINE)
    assert found and found[1] == expected["verdict"]
    assert float(found[2]) == expected["fake_probability"]
    assert done.stdout.count("person 0: ") == len(expected["faces"]) == 1
    refused = run(sys.executable, EXAMPLES / name, __file__, *access)
    assert refused.returncode == 1 and refused.stderr.startswith("NotAVideo: test_gateway_examples.py: ")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example for Node with what it needs, from npm's registry."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    installed = run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", folder=folder)
    if installed.returncode:
        pytest.skip(f"npm's registry cannot be reached: {installed.stderr[-200:]}")
    return folder


def test_node(gateway: Asked, clip_path: Path, expected: JsonObject, node_folder: Path) -> None:
    proto = ROOT / "gateway/grpc_service/detector.proto"
    done = run("node", "detect.js", clip_path, gateway.grpc, proto, folder=node_folder, key=gateway.key)
    assert done.returncode == 0, done.stderr
    *windows, last = done.stdout.splitlines()
    answer = json.loads(last)
    assert answer["video"] == clip_path.name
    assert comparable(answer) == comparable(expected)
    assert len(windows) == len(expected["faces"][0]["segments"])
    refused = run("node", "detect.js", __file__, gateway.grpc, proto, folder=node_folder, key=gateway.key)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("NotAVideo: test_gateway_examples.py: ")
