from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from support import write_clip

from deepfake_triton import cli
from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite import load, stages
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import TritonServer

SHORT_CLIP_FRAMES = 8

Bench = Callable[..., Report]


@pytest.fixture
def bench(default_repository: Path, tmp_path: Path) -> Bench:
    """The command, and the report that it wrote."""

    def run(name: str, *options: str) -> Report:
        assert cli.main(["bench", name, str(default_repository), "--output", str(tmp_path), *options]) == 0
        data = json.loads((tmp_path / f"{name}.json").read_text())
        report = Report.from_json(data)
        assert report.to_json() == data
        assert report.environment.cores >= 1 and report.environment.versions["numpy"]
        assert (tmp_path / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (tmp_path / f"{name}.md").read_text() == report.markdown()
        return report

    return run


@pytest.fixture
def shared_server(default_server: TritonServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TritonServer]:
    """Stands for the server that a benchmark would start of the same repository; `compare` starts its own."""
    for module in (stages, load):
        monkeypatch.setattr(module, "TritonServer", lambda _options: nullcontext(default_server))
    yield default_server


@pytest.fixture(scope="session")
def short_clip(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the demo's clip: where what is computed costs less than what is looked at.

    Without loss: compressed again its probability would stand beside the REAL threshold, where paths part.
    """
    frames = decode_clip(clip_path).frames.data[:SHORT_CLIP_FRAMES]
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    return write_clip(path, list(frames), pixel_format="yuv444p", codec_options={"qp": "0"})
