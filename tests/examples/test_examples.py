"""Every example runs as its first lines say, against a real server where it calls one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.serving.server import TritonServer

EXAMPLES = ROOT / "examples"


def run_example(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.fast
def test_every_example_is_listed_and_tested() -> None:
    names = {path.name for path in EXAMPLES.rglob("*") if path.suffix in {".py", ".sh", ".js"}}
    assert names == set(re.findall(r"\]\((?:node/)?(\w+\.\w+)\)", (EXAMPLES / "README.md").read_text()))
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert names == set(re.findall(r'"(\w+\.(?:py|sh|js))"', tests)) - {Path(__file__).name}


@pytest.mark.triton
def test_one_video(default_server: TritonServer, clip_path: Path) -> None:
    lines = run_example("one_video.py", clip_path, "--url", default_server.url, "--windows", 2).splitlines()
    assert re.fullmatch(r"REAL 0\.\d+", lines[0].rstrip()) and lines[1] == "person 0: seen in 40 of 40 frames"
    assert len(lines) == 4 and lines[2].startswith("  0.00–0.80 s  0.")


@pytest.mark.triton
def test_async_folder(default_server: TritonServer, clip_path: Path, tmp_path: Path) -> None:
    shutil.copy2(clip_path, tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_text("no video")
    shutil.copy2(clip_path, tmp_path / "c.mp4")
    first, second, third = run_example("async_folder.py", tmp_path, "--url", default_server.url).splitlines()
    assert first.startswith("a.mp4: REAL 0.") and third.startswith("c.mp4: REAL 0.")
    assert second.startswith("b.mp4: cannot be judged: ")


@pytest.mark.triton
def test_raw_request(default_server: TritonServer, clip_path: Path) -> None:
    text = run_example("raw_request.py", clip_path, "--url", default_server.url)
    metadata = default_checkpoint().metadata
    assert f"FAKE at or above: {dict(metadata.operating_points)}" in text
    (probability,) = re.findall(
        r"face 0: probability of FAKE ([\d.]+), first at \[\d+, \d+, \d+, \d+\]", text
    )
    assert float(probability) <= metadata.real_at_most["balanced"]
    assert text.endswith("faces left out: 0\n")


@pytest.mark.triton
def test_monitor(default_server: TritonServer, clip_path: Path) -> None:
    run_example("raw_request.py", clip_path, "--url", default_server.url)
    addresses = (f"127.0.0.1:{port}" for port in (default_server.http_port, default_server.metrics_port))
    http, metrics = addresses
    rows = {
        line.split()[0]: line.split()[1:]
        for line in run_example("monitor.py", "--http", http, "--metrics", metrics).splitlines()
    }
    answered, _, _, compute_ms = rows["feature_extractor"]
    assert int(answered) >= 1 and float(compute_ms) > 0
    assert int(rows["deepfake_detector"][0]) >= 1


@pytest.mark.triton
def test_custom_checkpoint(brief_clip: Path, tmp_path: Path) -> None:
    text = run_example("custom_checkpoint.py", tmp_path / "repository", "--parity", brief_clip)
    assert "custom.pt" in text and "wrote version 1" in text
    config = (tmp_path / "repository/deepfake_detector/config.pbtxt").read_text()
    assert '{\\"balanced\\": 0.6}' in config and '{\\"balanced\\": 0.4}' in config


@pytest.mark.slow
def test_quantize_int8(clip_path: Path, tmp_path: Path) -> None:
    text = run_example("quantize_int8.py", tmp_path / "fast", clip_path, "--samples", 32)
    assert json.loads(text[text.index("{") :])
    report = json.loads((tmp_path / "fast/export_report.json").read_text())
    assert report["precision"] == "int8"
