"""`serve --engine-cache` where there is no GPU: what is refused, what Triton loads, what is never written."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest
from read_only_mount import read_only
from serve_command import run_serve, serving
from support import new_version

from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import ServerFailed
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.repository.layout import publish
from deepfake_triton.host.cuda import Gpu
from deepfake_triton.repository.engine_cache import ModelEngine
from deepfake_triton.serving import server as server_module
from deepfake_triton.serving.engines import cached_engines
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

GRAPHS = ("face_detector", "feature_extractor", "sequence_classifier")


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}


@pytest.fixture
def for_tensorrt(tmp_path: Path) -> Path:
    """A repository for TensorRT whose configs name engines for compute capability 8.0."""
    repository = tmp_path / "repository"
    publish(new_version(tmp_path, 1), repository)
    (repository / "repository_record.json").unlink()
    for name in GRAPHS:
        path = repository / name / "config.pbtxt"
        config = config_from_text(path.read_text())
        config.backend = "tensorrt"
        config.cc_model_filenames["8.0"] = "model_sm80.plan"
        path.write_text(config_text(config))
    return repository


def test_without_a_gpu_it_says_so_and_starts_nothing(for_tensorrt: Path, tmp_path: Path) -> None:
    before = snapshot(for_tensorrt)
    status, errors = run_serve(str(for_tensorrt), "--engine-cache", str(tmp_path / "engines"))
    assert status == 1 and len(errors) == 3
    assert "has no repository_record.json" in errors[0]
    assert "no GPU here to build for" in errors[1] and "no engines for this GPU" in errors[2]
    assert snapshot(for_tensorrt) == before and not (tmp_path / "engines").exists()


def test_a_repository_that_is_not_as_recorded_gets_no_engines(for_tensorrt: Path, tmp_path: Path) -> None:
    publish(new_version(tmp_path, 1), tmp_path / "changed")
    changed = tmp_path / "changed" / "face_detector" / "config.pbtxt"
    changed.write_text((for_tensorrt / "face_detector" / "config.pbtxt").read_text())
    status, errors = run_serve(str(tmp_path / "changed"), "--engine-cache", str(tmp_path / "engines"))
    assert status == 1 and len(errors) == 1 and "it changed since" in errors[0]


def test_an_image_without_tensorrt_s_package_serves_whole_repositories(
    for_tensorrt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that builds is not even started where configs name an engine for the GPU."""
    with pytest.raises(ServerFailed, match="no engines for this GPU"):
        cached_engines(for_tensorrt, tmp_path / "engines")
    monkeypatch.setattr("deepfake_triton.serving.engines.first_gpu", lambda: Gpu("NVIDIA A100", "8.0"))
    assert cached_engines(for_tensorrt, tmp_path / "engines") == ()


def test_folders_that_cannot_be_the_cache_are_refused(small_repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache, says in (
        ("engines", "got 'engines', expected an absolute path, such as /engines"),
        (str(tmp_path / "file"), "is a file; name a folder"),
        (str(small_repository / "engines"), "is not apart from the repository"),
        (str(small_repository), "is not apart from the repository"),
    ):
        status, errors = run_serve(str(small_repository), "--engine-cache", cache)
        assert status == 1 and len(errors) == 1 and "--engine-cache: " in errors[0] and says in errors[0]


def test_versions_that_switch_while_it_runs_are_refused(small_repository: Path, tmp_path: Path) -> None:
    options = ["--engine-cache", str(tmp_path / "engines"), "--model-control", "explicit"]
    status, errors = run_serve(str(small_repository), *options)
    assert status == 1 and len(errors) == 1
    assert (
        "exclude each other" in errors[0]
        and "start the server again after `repository activate`" in errors[0]
    )


def test_a_repository_for_onnx_runtime_is_served_as_it_is(small_repository: Path, tmp_path: Path) -> None:
    """Mounted read-only, beside a cache that is not even made."""
    before = snapshot(small_repository)
    cache = tmp_path / "engines"
    with serving(
        small_repository, "--engine-cache", str(cache), launcher=read_only(small_repository)
    ) as served:
        assert served.said.startswith("ready: ")
    assert snapshot(small_repository) == before and not cache.exists()


def test_triton_loads_the_repository_and_the_engines_as_one(
    *,
    default_repository: Path,
    default_server: TritonServer,
    clip_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real Triton, which has no TensorRT here, computes the graphs that lie beside the engines."""
    engines = []
    for name in GRAPHS:
        path = tmp_path / f"{name}.plan"
        path.write_bytes(name.encode() * 1000)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        engines.append(ModelEngine(name, 1, "model.plan", path, digest))
    before = snapshot(default_repository)
    with DeepfakeClient(default_server.url) as client:
        expected = client.detect(clip_path).fake_probability
    monkeypatch.setattr(server_module, "cached_engines", lambda _repository, _cache: tuple(engines))
    with TritonServer(ServerOptions.on_free_ports(default_repository)) as server:
        models = Path(tempfile.gettempdir()) / server.shared_memory_prefix / "models"
        for engine in engines:
            version = models / engine.model / "1"
            assert (version / "model.plan").read_bytes() == engine.path.read_bytes()
            assert (
                version / "model.onnx"
            ).resolve() == default_repository / engine.model / "1" / "model.onnx"
        with DeepfakeClient(server.url) as client:
            assert client.detect(clip_path).fake_probability == pytest.approx(expected, abs=1e-6)
    assert not models.parent.exists() and all(engine.path.is_file() for engine in engines)
    assert snapshot(default_repository) == before
    engines[1].path.write_bytes(b"changed after it was looked up")
    with pytest.raises(ServerFailed, match="it changed at this moment"):
        TritonServer(ServerOptions.on_free_ports(default_repository))
    assert not list(Path(tempfile.gettempdir()).glob(f"{models.parent.name}*"))
