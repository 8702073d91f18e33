"""The folders, the names that they install as, and what each may import."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES = {name.removeprefix("deepfake_triton.") for name in SETTINGS["packages"]} - {"deepfake_triton"}

MAY_IMPORT = {
    "preprocessing": {"contracts", "errors"},
    "export": {
        *("contracts", "cpu", "errors", "integrity", "manifest", "metrics", "preprocessing"),
        *("repository_files", "repository_record", "repository_record_file", "repository_signature"),
    },
    "client": {
        *("addresses", "contracts", "errors", "preprocessing", "shared_memory_key", "shared_regions"),
        "terminal",
    },
    "serving": {
        *("addresses", "contracts", "cpu", "errors", "integrity", "processes", "repository_record"),
        *("shared_memory_key", "shared_pages", "shared_regions", "terminal"),
    },
    "model_repository": {"errors", "preprocessing", "shared_pages"},
    "training": {"contracts", "errors", "manifest", "metrics", "preprocessing", "export", "client"},
    "benchmarks": {
        *("__version__", "contracts", "errors", "integrity"),
        *("preprocessing", "export", "client", "serving"),
    },
}


def test_mapping_links_and_packages_agree() -> None:
    links = {
        path.name: str(path.readlink())
        for path in (ROOT / "src/deepfake_triton").iterdir()
        if path.is_symlink()
    }
    assert links == {name: f"../../{name}" for name in PACKAGES}
    assert SETTINGS["package-dir"] == {
        "deepfake_triton": "src/deepfake_triton",
        **{f"deepfake_triton.{name}": name for name in PACKAGES},
    }
    for name in PACKAGES:
        assert (ROOT / name / "__init__.py").is_file()
    assert not list((ROOT / "tests").rglob("__init__.py"))
    entering = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert entering >= PACKAGES, "the image builds the wheel from what .dockerignore lets in"


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


@pytest.mark.parametrize("folder", sorted(PACKAGES))
def test_imports_point_one_way(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) <= MAY_IMPORT[folder] | {folder}, path
    for module in ("contracts", "errors", "manifest", "metrics"):
        assert imported(ROOT / f"src/deepfake_triton/{module}.py") <= {"errors"}
    assert imported(ROOT / "src/deepfake_triton/integrity.py") <= {"contracts", "errors", "repository_files"}


def test_the_client_costs_no_torch_and_the_command_no_client() -> None:
    for module, heavy in (
        ("deepfake_triton.client", {"torch", "onnx", "onnxruntime"}),
        ("deepfake_triton.preprocessing.faces", {"torch", "onnx", "tritonclient", "av"}),
        ("deepfake_triton.cli", {"torch", "onnx", "cv2", "tritonclient", "numpy"}),
        ("deepfake_triton.serving.command", {"torch", "onnx", "onnxruntime", "cv2", "tritonclient"}),
    ):
        code = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not heavy & set(done.stdout.split()), module


def test_public_names_are_listed() -> None:
    from deepfake_triton import client

    kinds = (type, types.FunctionType)
    public = {
        name for name, value in vars(client).items() if not name.startswith("_") and isinstance(value, kinds)
    }
    assert public == set(client.__all__)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy without links, as from a downloaded archive."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_everything_under_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"deepfake_triton"}
    for expected in (
        "deepfake_triton/py.typed",
        "deepfake_triton/cli.py",
        "deepfake_triton/client/client.py",
        "deepfake_triton/export/pipeline.py",
        "deepfake_triton/export/default_checkpoint.safetensors",
        "deepfake_triton/preprocessing/faces.py",
        "deepfake_triton/serving/backends/onnxruntime/model.py",
        "deepfake_triton/model_repository/face_tracker/1/model.py",
        "deepfake_triton/model_repository/face_tracker/1/crop_rule.json",
        "deepfake_triton/model_repository/deepfake_detector/config.pbtxt",
    ):
        assert expected in names
    assert not any("test" in name for name in names)


def test_the_wheel_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Unpacked beside nothing else of ours, it imports from there and tells its version."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import deepfake_triton.preprocessing.faces as faces; print(faces.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path))
