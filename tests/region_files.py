"""Files of clients' shared memory that this process answers for."""

from __future__ import annotations

import os
from pathlib import Path

from deepfake_triton.shared_memory.regions import is_orphan


def region_files() -> list[str]:
    """Name what is in /dev/shm of this process, or of none that lives; other test processes have theirs."""
    names = [path.name for path in Path("/dev/shm").glob("deepfake-triton-client-*")]
    return [name for name in names if name.split("-")[4] == str(os.getpid()) or is_orphan(name)]
