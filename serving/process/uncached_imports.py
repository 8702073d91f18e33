"""Imports from a folder that others may write to: from source only, never from cached bytecode."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Mapping
from importlib.abc import PathEntryFinder


def import_source_only(folder: str) -> None:
    """Make this process import modules below `folder` from their source; no bytecode is read or written.

    Extension modules and bytecode without source are not found there.
    """

    def finder(path: str) -> PathEntryFinder:
        if path != folder and not path.startswith(f"{folder}/"):
            raise ImportError(f"{path}: not below {folder}", path=path)
        return importlib.machinery.FileFinder(path, (_SourceOnly, importlib.machinery.SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, finder)
    for path in [path for path in sys.path_importer_cache if path.startswith(folder)]:
        del sys.path_importer_cache[path]


class _SourceOnly(importlib.machinery.SourceFileLoader):
    def path_stats(self, path: str) -> Mapping[str, float]:
        """Refuse what bytecode would be validated against; Python then neither reads nor writes any."""
        raise OSError(f"{path}: bytecode is not used from here")
