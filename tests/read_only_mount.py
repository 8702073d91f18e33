"""A folder that is mounted read-only for one command, in a mount namespace of its own."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

_MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def read_only(folder: Path) -> list[str]:
    """What goes before a command for which `folder` is mounted read-only; skips where nothing can be."""
    if reason := _why_impossible():
        pytest.skip(reason)
    return ["unshare", "--mount", "sh", "-c", _MOUNT, str(folder)]


@functools.cache
def _why_impossible() -> str:
    try:
        subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"nothing can be mounted here: {error}"
    return ""
