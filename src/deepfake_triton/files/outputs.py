"""Check the output files of a command: none may be one of its inputs, or another output."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import OutputRefused


@dataclass(frozen=True)
class OutputFile:
    """A file to write: the `option` that names it, such as `--overlay`, and in a batch the `source` that it
    is made from."""

    option: str
    path: Path
    source: str = ""


def require_distinct_outputs(inputs: Iterable[str | Path], outputs: Sequence[OutputFile]) -> None:
    """Check that no output is one of the inputs, a folder or a device, or would overwrite another output.

    Files are compared by identity on disk, so that links count, and by name without case, as many file
    systems do. Two outputs of one option from one source are the same file. Raises OutputRefused.
    """
    read = {identity: str(path) for path in inputs for identity in _identities(path)}
    written: dict[object, OutputFile] = {}
    for output in outputs:
        _require_file(output)
        identities = _identities(output.path)
        for identity in identities:
            if identity in read:
                raise OutputRefused(
                    f"{output.option}: {output.path} is the input {read[identity]}, and would replace it; "
                    f"name another file{' or another folder than the videos' if output.source else ''}"
                )
        for identity in (*identities, _folded(output.path)):
            earlier = written.setdefault(identity, output)
            if (earlier.option, earlier.source) != (output.option, output.source):
                raise OutputRefused(_clash(earlier, output))


def make_folders(outputs: Iterable[OutputFile]) -> None:
    """Make the folders of the outputs. Raises OutputRefused where nothing can be written."""
    by_folder = {output.path.parent: output for output in outputs}
    for folder, output in by_folder.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise OutputRefused(
                f"{output.option}: {output.path}: cannot be written there: {reason or error}; name another "
                "folder"
            ) from error


def describe_non_file(mode: int) -> str | None:
    """Describe what cannot be written as a file, by its `st_mode`; None for a file."""
    if stat.S_ISREG(mode):
        return None
    return "a folder; name a file in it" if stat.S_ISDIR(mode) else "a pipe or a device; name a file"


def prepare_outputs(inputs: Iterable[str | Path], outputs: Sequence[OutputFile]) -> None:
    """Check the outputs and make their folders, before any long work. Raises OutputRefused."""
    require_distinct_outputs(inputs, outputs)
    make_folders(outputs)


def _require_file(output: OutputFile) -> None:
    try:
        wrong = describe_non_file(output.path.stat().st_mode)
    except (
        FileNotFoundError,
        NotADirectoryError,
        PermissionError,
        ValueError,
    ):  # making its folder says more
        return
    except OSError as error:  # such as a name that is too long
        raise OutputRefused(f"{output.option}: {output.path}: cannot be written: {error.strerror}") from error
    if wrong:
        raise OutputRefused(f"{output.option}: {output.path} is {wrong}")


def _clash(earlier: OutputFile, later: OutputFile) -> str:
    if earlier.option != later.option:
        return f"{earlier.option} and {later.option} both name {later.path}; name two files"
    return (
        f"{later.option}: {earlier.source} and {later.source} would both be written to {later.path}; put "
        "{number} into the file's name"
    )


def _identities(path: str | Path) -> set[object]:
    """Return what identifies a file: its path, its real path, and its device and inode if it exists."""
    found: set[object] = {os.fspath(path)}
    try:
        found.add(os.path.realpath(path))
        status = Path(path).stat()
        found.add((status.st_dev, status.st_ino))
    except (OSError, ValueError):  # not there yet, or no name that a file can have
        pass
    return found


def _folded(path: Path) -> str:
    with contextlib.suppress(ValueError):  # no name that a file can have
        path = Path(os.path.realpath(path))
    return unicodedata.normalize("NFC", str(path)).casefold()
