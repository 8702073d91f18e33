"""The Python environment of Triton's Python models: this interpreter and its packages."""

from __future__ import annotations

import site
import sys
from pathlib import Path

PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def write_python_environment(folder: Path, models: Path) -> Path:
    """Write a virtual environment for Python models, and return its `bin`, which goes first on PATH.

    It has this environment's packages, and imports from below `models` without cached bytecode. Triton's
    Python processes ignore Python's variables and arguments, so that an environment's start-up files are the
    only way to configure them before they import the model.
    """
    binaries = folder / "bin"
    packages = folder / "lib" / f"python{PYTHON_VERSION}" / "site-packages"
    for created in (binaries, packages):
        created.mkdir(parents=True)
    (binaries / "python3").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n"
    )
    imports = "deepfake_triton.serving.process.uncached_imports"
    site_packages = [
        *site.getsitepackages(),
        *([site.getusersitepackages()] if site.ENABLE_USER_SITE else []),
    ]
    lines = [f"import site; site.addsitedir({path!r})" for path in site_packages]
    lines.append(f"import {imports}; {imports}.import_source_only({str(models)!r})")
    (packages / "deepfake_triton_models.pth").write_text("".join(f"{line}\n" for line in lines))
    return binaries
