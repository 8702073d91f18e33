"""What a GPU host lacks for serving, in one folder: a Python with Triton, ONNX Runtime for CUDA, and numpy 1.

The host has torch with its CUDA libraries, OpenCV, gRPC, ml_dtypes and psutil. Triton's Python backend links
to a libpython that a distribution's Python does not have, so that a whole Python is packed.
"""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

from deepfake_triton.benchmarks.gpu_day.lean_cuda import LeanCode, write_lean_provider, zero_section
from deepfake_triton.errors import InputError, MissingDependency

WHEELS = (
    *("numpy", "nvidia_pytriton", "onnxruntime_gpu", "packaging", "protobuf", "python_rapidjson"),
    *("tritonclient", "typing_extensions"),
)
_CUDA_PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
_UNUSED_OF_PYTHON = (
    *("config-*", "ensurepip", "idlelib", "lib-dynload/_test*", "lib-dynload/_tkinter*", "lib2to3"),
    *("pydoc_data", "site-packages/*", "test", "tkinter", "turtledemo"),
)
_UNUSED_OF_WHEELS = (
    "numpy/*/tests",
    "numpy/core/include",
    "numpy/core/lib",
    "numpy/distutils",
    "numpy/f2py",
    "nvidia_pytriton.libs/libpython3-*",
    "onnxruntime/ThirdPartyNotices.txt",
    "onnxruntime/backend",
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers/models",
    "pytriton/tritonserver/caches",
)
_STRIPPED = (
    "*.so",
    "numpy.libs/libopenblas*",
    "nvidia_pytriton.libs/libtritonserver*",
    "pytriton/tritonserver/backends/python/*.so",
    "pytriton/tritonserver/bin/*",
    "pytriton/tritonserver/python_backend_stubs/*/*",
)


def build_payload(
    wheels: Path, python: Path, folder: Path, *, architecture: int, all_kernels: bool
) -> LeanCode:
    """Write `folder`/python from a folder of wheels and the prefix of a Python built with --enable-shared.

    Return what is left of the CUDA provider's device code. Raises InputError for wheels or a Python that are
    not as expected, MissingDependency without `strip`.
    """
    target = folder / "python"
    version = _copy_python(python, target)
    library = target / "lib" / f"python{version}"
    packages = library / "site-packages"
    for wheel in _chosen_wheels(wheels):
        _unpack_wheel(wheel, packages)
    _remove(packages, _UNUSED_OF_WHEELS)
    _keep_only(packages / "pytriton", "tritonserver")
    _keep_only(packages / "pytriton/tritonserver/python_backend_stubs", version)
    lean = write_lean_provider(packages / _CUDA_PROVIDER, architecture, all_kernels=all_kernels)
    # Unicode tables to which libxml2 links, and which Triton never reads.
    for tables in _matching(packages, ("nvidia_pytriton.libs/libicudata-*",)):
        tables.write_bytes(zero_section(tables.read_bytes(), ".rodata"))
    _strip(
        [
            *_matching(target, ("bin/*", "lib/*.so*")),
            *_matching(library, ("lib-dynload/*.so",)),
            *_matching(packages, _STRIPPED),
        ]
    )
    return lean


def _copy_python(python: Path, target: Path) -> str:
    """Copy a Python without what no server imports, and return its version such as `3.12`."""
    found = sorted((python / "lib").glob("libpython3.*.so.1.0"))
    if len(found) != 1:
        raise InputError(
            f"{python}/lib: got {len(found)} files libpython3.*.so.1.0, expected 1; name the prefix of "
            "a Python that was built with --enable-shared"
        )
    version = found[0].name.removeprefix("libpython").removesuffix(".so.1.0")
    for folder in ("bin", "lib"):
        (target / folder).mkdir(parents=True)
    shutil.copy2(python / "bin" / f"python{version}", target / "bin" / "python3")
    shutil.copy2(found[0], target / "lib")
    library = target / "lib" / f"python{version}"
    shutil.copytree(python / "lib" / library.name, library, ignore=shutil.ignore_patterns("__pycache__"))
    _remove(library, _UNUSED_OF_PYTHON)
    return version


def _chosen_wheels(folder: Path) -> list[Path]:
    found = {path.name.partition("-")[0]: path for path in sorted(folder.glob("*.whl"))}
    if missing := sorted(set(WHEELS) - set(found)):
        raise InputError(f"{folder}: no wheel of {', '.join(missing)}; `pip download` them for the GPU host")
    return [found[name] for name in WHEELS]


def _unpack_wheel(wheel: Path, packages: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = Path(archive.extract(member, packages))
            if mode := member.external_attr >> 16 & 0o777:  # extract() drops it: programs would not start
                path.chmod(mode | 0o600)


def _remove(folder: Path, patterns: tuple[str, ...]) -> None:
    for path in _matching(folder, patterns):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _keep_only(folder: Path, name: str) -> None:
    if not (folder / name).exists():
        raise InputError(f"{folder.name} of the wheel has no {name}: nothing could be served with it")
    _remove(folder, tuple(path.name for path in folder.iterdir() if path.name != name))


def _matching(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(folder.glob(pattern))


def _strip(programs: list[Path]) -> None:
    try:
        subprocess.run(["strip", "--strip-all", *programs], check=True)
    except FileNotFoundError as error:
        raise MissingDependency("`strip` is not installed; it is Debian's binutils") from error
