from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from deepfake_triton.benchmarks.gpu_day.assemble import Host, unpack_arrived, write_commands
from deepfake_triton.benchmarks.gpu_day.parts import write_archive
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Parts of `serving`, whose Python has the standard library alone, and of a repository."""
    python = tmp_path / "serving" / "python"
    module = python / "lib/python3.12/site-packages/onnxruntime/__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("where = 'carried'\n")
    (python / "bin").mkdir()
    (python / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    (python / "bin/python3").chmod(0o755)
    (tmp_path / "fp16").mkdir()
    (tmp_path / "fp16/model.onnx").write_bytes(np.random.default_rng(0).bytes(1500))
    folder = tmp_path / "packed"
    folder.mkdir()
    for name in ("serving", "fp16"):
        write_archive(tmp_path / name, folder, 1000)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def carry(packed: Path, folder: Path, *names: str) -> Path:
    """Return a folder with the sums and some of the parts, as a call brings them."""
    folder.mkdir()
    for name in ("SHA256SUMS", *names):
        (folder / name).write_bytes((packed / name).read_bytes())
    return folder


def test_an_archive_is_unpacked_once_when_its_last_part_has_come(
    packed: Path, root: Path, tmp_path: Path
) -> None:
    first, second = sorted(path.name for path in packed.glob("fp16*"))
    waiting = unpack_arrived(carry(packed, tmp_path / "call-1", first), root)
    assert waiting[0] == f"fp16: waits for {second}" and waiting[1].startswith("serving: waits for")
    assert not (root / "fp16").exists()
    (done, _) = unpack_arrived(carry(packed, tmp_path / "call-2", second), root)
    assert done.startswith(f"fp16: unpacked into {root / 'fp16'} in ")
    model = root / "fp16/model.onnx"
    assert model.read_bytes() == (tmp_path / "fp16/model.onnx").read_bytes()
    model.write_bytes(b"changed there")
    (again, _) = unpack_arrived(tmp_path / "no parts in this call", root)
    assert again == f"fp16: in {root / 'fp16'} already" and model.read_bytes() == b"changed there"


def test_an_archive_that_was_packed_anew_takes_the_place_of_the_former(packed: Path, root: Path) -> None:
    unpack_arrived(packed, root)
    changed = packed.parent / "fp16/model.onnx"
    changed.write_bytes(b"anew")
    write_archive(changed.parent, packed, 1000)
    unpack_arrived(packed, root)
    assert (root / "fp16/model.onnx").read_bytes() == b"anew"


def test_what_a_call_that_was_cut_off_left_is_no_archive(packed: Path, root: Path) -> None:
    partial = root / ".assembled/fp16.partial/fp16"
    partial.mkdir(parents=True)
    (partial / "half").touch()
    unpack_arrived(packed, root)
    assert [path.name for path in (root / "fp16").iterdir()] == ["model.onnx"]


def test_a_corrupt_part_is_refused(packed: Path, root: Path) -> None:
    (packed / "fp16.tar.xz.part-01").write_bytes(b"corrupt")
    with pytest.raises(InputError, match="carry it again"):
        unpack_arrived(packed, root)
    assert not (root / "fp16").exists()


def test_commands_run_the_pythons_with_their_libraries_and_packages(
    packed: Path, root: Path, tmp_path: Path
) -> None:
    unpack_arrived(packed, root)
    packages = tmp_path / "torch-packages"
    cuda = packages / "nvidia/cu13/lib"
    cuda.mkdir(parents=True)
    checkout = tmp_path / "checkout"
    host = Host(checkout, Path(sys.executable), packages)
    assert host.cuda_libraries == [cuda]
    serving, torch = write_commands(root, host)
    python = root / "serving/python"
    pth = python / "lib/python3.12/site-packages/gpu_day.pth"
    assert pth.read_text() == f"{checkout / 'src'}\n{packages}\n"

    def variable(command: Path, name: str, **inherited: str) -> str:
        code = f"import os; print(os.environ.get({name!r}, ''))"
        environment = {"PATH": os.environ["PATH"], **inherited}
        done = subprocess.run(
            [command, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert variable(serving, "LD_LIBRARY_PATH") == f"{python / 'lib'}:{cuda}"
    assert variable(serving, "LD_LIBRARY_PATH", LD_LIBRARY_PATH="/own").endswith(f"{cuda}:/own")
    assert variable(serving, "PYTHONPATH") == ""
    assert variable(torch, "LD_LIBRARY_PATH") == str(cuda)
    assert variable(torch, "PYTHONPATH") == f"{root / 'beside-torch'}:{checkout / 'src'}"
    code = "import onnxruntime; print(onnxruntime.where)"
    done = subprocess.run([torch, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "carried\n"
    assert write_commands(root, host) == (serving, torch)


def test_it_runs_without_any_package_and_says_what_is_missing(packed: Path, root: Path) -> None:
    """By a Python that has the standard library alone, in the checkout."""
    command = [
        *(sys.executable, "-S", "-m", "deepfake_triton.benchmarks.gpu_day", "assemble"),
        *(str(packed), "--root", str(root)),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "" and "serving: unpacked into" in done.stdout
    assert "CUDA libraries:" in done.stdout
    assert f"{root / 'serving-python'}: ctypes" in done.stdout and "No module named 'cv2'" in done.stdout
    assert done.returncode == 1
