"""Packing, with a Python and wheels that hold programs of this machine in place of the large ones."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from fatbin_files import fatbin_library

from deepfake_triton.benchmarks.gpu_day.__main__ import main
from deepfake_triton.benchmarks.gpu_day.parts import read_sums, unpack_archive
from deepfake_triton.benchmarks.gpu_day.payload import WHEELS
from deepfake_triton.errors import InputError

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(not shutil.which("strip"), reason="strip is not installed"),
]

PROGRAM = Path(shutil.which("true") or "/bin/true").read_bytes()
TRITON = "pytriton/tritonserver"
FILES = {
    "numpy": {"numpy/__init__.py": b"", "numpy/f2py/large.py": b"", "numpy/core/tests/test.py": b""},
    "nvidia_pytriton": {
        f"{TRITON}/bin/tritonserver": PROGRAM,
        f"{TRITON}/python_backend_stubs/3.12/triton_python_backend_stub": PROGRAM,
        f"{TRITON}/python_backend_stubs/3.11/triton_python_backend_stub": PROGRAM,
        "pytriton/client.py": b"",
        "nvidia_pytriton.libs/libicudata-1.so": PROGRAM,
        "nvidia_pytriton.libs/libpython3-13.so": PROGRAM,
    },
    "onnxruntime_gpu": {
        "onnxruntime/capi/libonnxruntime_providers_cuda.so": fatbin_library([{75: b"old", 90: b"new"}]),
        "onnxruntime/capi/libonnxruntime_providers_tensorrt.so": PROGRAM,
        "onnxruntime/transformers/float16.py": b"",
        "onnxruntime/transformers/models/large.py": b"",
    },
}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    prefix = tmp_path / "prefix"
    for name, content in {
        "bin/python3.12": PROGRAM,
        "lib/libpython3.12.so.1.0": PROGRAM,
        "lib/python3.12/os.py": b"",
        "lib/python3.12/test/test_os.py": b"",
        "lib/python3.12/__pycache__/os.pyc": b"",
        "lib/python3.12/site-packages/pip/__init__.py": b"",
    }.items():
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    return prefix


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in WHEELS:
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            for path, content in FILES.get(name, {f"{name}/__init__.py": b""}).items():
                member = zipfile.ZipInfo(path)
                member.external_attr = 0o100755 << 16
                archive.writestr(member, content)
    return folder


def pack(*arguments: Path | str) -> int:
    return main(["pack", *map(str, arguments)])


def test_serving_holds_what_a_server_needs(
    wheels: Path, python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "parts"
    assert pack("--wheels", wheels, "--python", python, "--output", output) == 0
    assert "CUDA provider: 0.0 MiB for sm_90 kept" in capsys.readouterr().out
    unpack_archive(output, read_sums(output)["serving"], tmp_path)
    found = tmp_path / "serving/python"
    packages = found / "lib/python3.12/site-packages"
    assert os.access(found / "bin/python3", os.X_OK) and os.access(
        packages / TRITON / "bin/tritonserver", os.X_OK
    )
    cuda = (packages / "onnxruntime/capi/libonnxruntime_providers_cuda.so").read_bytes()
    assert b"new" in cuda and b"old" not in cuda
    tables = (packages / "nvidia_pytriton.libs/libicudata-1.so").read_bytes()
    assert len(tables) == len(PROGRAM) and tables != PROGRAM
    assert {path.name for path in (found / "lib/python3.12").iterdir()} == {"os.py", "site-packages"}
    files = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert files >= {"numpy/__init__.py", "onnxruntime/transformers/float16.py", "tritonclient/__init__.py"}
    assert not [name for name in files if name.split("/")[-1] in ("large.py", "client.py", "test.py")]
    assert not [name for name in files if "libpython3" in name or "tensorrt" in name or "3.11" in name]


def test_files_alone_are_archives_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fp16").mkdir()
    (tmp_path / "clip").write_bytes(b"frames")
    output = tmp_path / "parts"
    assert pack("--output", output, "--part-mib", "1", tmp_path / "fp16", tmp_path / "clip") == 0
    assert set(read_sums(output)) == {"fp16", "clip"}
    assert "clip.tar.xz.part-00: 0.0 MiB" in capsys.readouterr().out


def test_what_is_lacking_is_named(wheels: Path, python: Path, tmp_path: Path) -> None:
    output = tmp_path / "parts"
    with pytest.raises(InputError, match="expected both, or none"):
        pack("--output", output, "--wheels", wheels)
    with pytest.raises(InputError, match="absent: no such file or folder"):
        pack("--output", output, tmp_path / "absent")
    with pytest.raises(InputError, match="named twice: wheels"):
        pack("--output", output, wheels, wheels)
    with pytest.raises(InputError, match="no code for sm_120: got sm_75, sm_90"):
        pack("--output", output, "--wheels", wheels, "--python", python, "--architecture", "120")
    (wheels / "numpy-1.0-py3-none-any.whl").unlink()
    with pytest.raises(InputError, match="no wheel of numpy"):
        pack("--output", output, "--wheels", wheels, "--python", python)
    (python / "lib/libpython3.12.so.1.0").unlink()
    with pytest.raises(InputError, match=r"got 0 files .* --enable-shared"):
        pack("--output", output, "--wheels", wheels, "--python", python)
