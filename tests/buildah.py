"""Images built without Docker, on a base made from this machine's own Debian mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from container import Image, image_of
from paths import ROOT

BASE = "localhost/stand-in"
_PACKAGES = "python3,python3-pip,libpython3.11,ca-certificates"
_FROM_HOST = ("/etc/ssl/certs", "/etc/pip.conf")
"""What reaches a package index from here, mounted while an image is built."""


def run(*command: str | Path) -> str:
    """Output of a command that has to succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def missing_tool() -> str | None:
    """Why no image can be built here."""
    if os.geteuid() != 0:
        return "building an image without Docker needs root"
    lacking = [tool for tool in ("buildah", "debootstrap", "unshare", "ip") if not shutil.which(tool)]
    return f"{', '.join(lacking)} not installed: make system-deps" if lacking else None


def debian_mirror() -> str:
    """The mirror that this machine's own packages come from."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)").split("\n")
    mirrors = [line.split()[0] for line in sites if line.endswith(" bookworm")]
    return mirrors[0] if mirrors else pytest.skip("this machine's packages do not come from Debian bookworm")


@dataclass(frozen=True)
class Builder:
    """buildah with a storage of its own, which holds BASE: Debian's Python 3.11."""

    options: tuple[str, ...]
    caches: bool
    """Whether stages that targets share are built once; where each layer is a copy, that would cost more."""

    def build(self, target: str) -> Image:
        """Build a target of the Dockerfile, and mount its files."""
        volumes = [f"--volume={path}:{path}:ro" for path in _FROM_HOST if Path(path).exists()]
        bases = [f"--build-arg={name}={BASE}" for name in ("PYTHON_BASE", "TRITON_BASE")]
        tag = f"deepfake-triton:{target}"
        self._run(
            "bud", "--isolation=chroot", f"--layers={str(self.caches).lower()}", *volumes, *bases,
            "--format=docker", f"--target={target}", f"--tag={tag}", ROOT,
        )  # fmt: skip
        container = self._run("from", f"localhost/{tag}").strip()
        return image_of(self._run("inspect", container), Path(self._run("mount", container).strip()))

    def _run(self, command: str, *arguments: str | Path) -> str:
        return run("buildah", *self.options, command, *arguments)


@contextmanager
def builder(folder: Path) -> Iterator[Builder]:
    """A builder whose storage is below `folder`, removed at the end."""
    storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver"]
    caches = _works([*storage, "overlay"])
    options = [*storage, "overlay" if caches else "vfs"]
    try:
        _make_base(folder, options)
        yield Builder(tuple(options), caches)
    finally:
        run("buildah", *options, "rm", "--all")
        run("buildah", *options, "rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


def _works(options: list[str]) -> bool:
    """Whether a container can be made so, and mounted: overlays are refused on some file systems."""
    buildah = ["buildah", *options]
    made = subprocess.run([*buildah, "from", "scratch"], capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(options[1], ignore_errors=True)
        return False
    mounted = subprocess.run([*buildah, "mount", made.stdout.strip()], capture_output=True, check=False)
    run(*buildah, "rm", "--all")
    return mounted.returncode == 0


def _make_base(folder: Path, options: list[str]) -> None:
    root = folder / "rootfs"
    run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root, debian_mirror())
    run("tar", "-C", root, "-cf", folder / "rootfs.tar", ".")
    shutil.rmtree(root)
    (folder / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    run("buildah", *options, "bud", "--isolation=chroot", f"--tag={BASE.rpartition('/')[2]}", folder)
    (folder / "rootfs.tar").unlink()
