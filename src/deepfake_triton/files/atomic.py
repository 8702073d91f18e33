"""Write files as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_LONGEST_NAME_BYTES = 255


@contextlib.contextmanager
def atomic_write(path: Path, *, follow_links: bool = True) -> Iterator[Path]:
    """Yield a name to write to: at the end of the block that file takes the place of `path`, or of what
    `path` links to; where the block fails it is removed, and `path` stays as it was. Raises OSError."""
    target = Path(os.path.realpath(path)) if follow_links else path
    if not is_possible_name(target):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    partial = partial_beside(target)
    try:
        yield partial
        partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def partial_beside(path: Path) -> Path:
    """Return a hidden name that nobody else has, short and of the same suffix, to write `path` under until it
    is whole: on a shared volume, processes of several containers have the same number."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    return path.with_name(f".{digest}.{secrets.token_hex(6)}{path.suffix}")


def is_possible_name(path: Path) -> bool:
    """Return whether a file can have this name: no part is too long, and every character can be stored."""
    try:
        parts = [os.fsencode(part) for part in path.parts]
        os.lstat(path)
    except ValueError:
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
    return all(len(part) <= _LONGEST_NAME_BYTES for part in parts)
