"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 2**20


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return sha256_of_stream(file)


def sha256_of_stream(file: BinaryIO) -> str:
    """Return the SHA-256 of what is left to read of an open file. Raises OSError."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
