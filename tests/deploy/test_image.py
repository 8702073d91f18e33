"""The Dockerfile: checked by hadolint, and built with buildah on a stand-in for NVIDIA's image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return str(done.stdout)


@pytest.mark.fast
def test_hadolint_finds_nothing() -> None:
    assert run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile") == ""


def missing_tool() -> str | None:
    if os.geteuid() != 0:
        return "building an image without Docker needs root"
    lacking = [tool for tool in ("buildah", "debootstrap") if not shutil.which(tool)]
    return f"{', '.join(lacking)} not installed: make system-deps" if lacking else None


def debian_mirror() -> str:
    """The mirror that this machine's own packages come from."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)").split("\n")
    mirrors = [line.split()[0] for line in sites if line.endswith(" bookworm")]
    return mirrors[0] if mirrors else pytest.skip("this machine's packages do not come from Debian bookworm")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options of buildah for a storage of the test's own, emptied at the end."""
    folder = tmp_path_factory.mktemp("storage")
    options = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    yield options
    run("buildah", *options, "rmi", "--all", "--force")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stand_in(storage: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian with Python and curl: what the Dockerfile uses of NVIDIA's image, but for tritonserver."""
    folder = tmp_path_factory.mktemp("base")
    packages = "--include=python3,python3-pip,python3-setuptools,curl,ca-certificates"
    run("debootstrap", "--variant=minbase", packages, "bookworm", folder / "rootfs", debian_mirror())
    run("tar", "-C", folder / "rootfs", "-cf", folder / "rootfs.tar", ".")
    shutil.rmtree(folder / "rootfs")
    (folder / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    run("buildah", *storage, "bud", "--isolation", "chroot", "--tag", "stand-in", folder)
    return "localhost/stand-in"


@pytest.mark.slow
@pytest.mark.skipif(missing_tool() is not None, reason=str(missing_tool()))
def test_the_image_builds_and_holds_what_the_python_step_needs(storage: list[str], stand_in: str) -> None:
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"
    run(
        "buildah", *storage, "bud", "--isolation", "chroot", "--volume", certificates,
        "--build-arg", f"BASE={stand_in}", "--format", "docker", "--tag", "deepfake-triton", ROOT,
    )  # fmt: skip
    container = run("buildah", *storage, "from", "localhost/deepfake-triton").strip()
    inside = ["buildah", *storage, "run", "--isolation", "chroot", container, "--"]
    listed = run(*inside, "python3", "-m", "pip", "list", "--format", "freeze")
    assert "deepfake-triton==" in listed and "numpy==1.26" in listed and "torch" not in listed
    code = (
        "import numpy as np; from deepfake_triton.preprocessing.faces import faces_from_detections as f;"
        "from deepfake_triton.preprocessing.crops import CropRule as R;"
        "d = np.zeros((2, 32, 15), np.float32); d[:, 0, :5] = 8, 8, 40, 40, 0.9;"
        "print(f(np.zeros((2, 48, 48, 3), np.uint8), d, R()).faces.shape)"
    )
    assert run(*inside, "python3", "-c", code).strip() == "(1, 2, 112, 112, 3)"
    settings = run("buildah", *storage, "inspect", "--format", "{{.OCIv1.Config}}", container)
    assert "[deepfake-triton-start]" in settings and "1000" in settings
    started = run(*inside, "sh", "-c", "deepfake-triton-start 2>&1 || true")
    assert "tritonserver" in started and "not found" in started, "the stand-in has no Triton to become"
