"""Write what each image installs: every package with its version and the SHA-256 of its wheel (x86-64 Linux).

Versions are those of constraints.txt. Run it with Python 3.11 on Linux after a change of them:
`.venv/bin/python deploy/images/lock.py`
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tomllib
from packaging.requirements import Requirement

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)]
_PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


@dataclass(frozen=True)
class Image:
    """One file of requirements: the Pythons that its base may have, and the extras of this project in it."""

    pythons: tuple[str, ...]
    extras: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Packages in place of this project's."""

    def requirements(self) -> list[str]:
        """What has to be resolved."""
        if self.others:
            return list(self.others)
        wanted = [*PROJECT["dependencies"]]
        for extra in self.extras:
            wanted += _of_extra(extra)
        return wanted


IMAGES = {
    "cpu": Image(("3.11",), ("server", "openvino")),
    "gateway": Image(("3.11",), ("gateway", "otlp", "provenance")),
    "gpu": Image(("3.10", "3.11", "3.12")),
    "sbom": Image(("3.11",), others=("cyclonedx-bom>=7,<8",)),
}


def _of_extra(extra: str) -> Iterator[str]:
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            for other in sorted(requirement.extras):
                yield from _of_extra(other)
        else:
            yield text


def locked(image: Image) -> str:
    """Return the lines of pip's requirements file. Raises CalledProcessError where nothing fits."""
    hashes: dict[str, set[str]] = {}
    for python in image.pythons:
        for package, sha256 in _resolved(image.requirements(), python):
            hashes.setdefault(package, set()).add(f" --hash=sha256:{sha256}")
    lines = (f"{package}{''.join(sorted(found))}\n" for package, found in hashes.items())
    return "".join(sorted(lines, key=str.lower))


def _resolved(requirements: list[str], python: str) -> Iterator[tuple[str, str]]:
    """Yield NAME==VERSION and the hash of each wheel that a Python would install."""
    with tempfile.TemporaryDirectory() as unused:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", "-", "--target", unused, "--python-version", python]
        command += ["--only-binary", ":all:", "--constraint", str(ROOT / "constraints.txt")]
        for platform in _PLATFORMS:
            command += ["--platform", platform]
        done = subprocess.run([*command, *requirements], stdout=subprocess.PIPE, check=True)
    for entry in json.loads(done.stdout)["install"]:
        found, wheel = entry["metadata"], entry["download_info"]["archive_info"]
        yield f"{found['name']}=={found['version']}", wheel["hashes"]["sha256"]


if __name__ == "__main__":
    for name in sys.argv[1:] or IMAGES:
        (FOLDER / f"requirements-{name}.txt").write_text(locked(IMAGES[name]))
