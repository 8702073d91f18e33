from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.dataset_manifest import ManifestRow, read_manifest, write_manifest

pytestmark = pytest.mark.fast


def test_a_manifest_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    rows = [ManifestRow("ü.mp4", "real", "a", "set", "", "", "test")]
    path = tmp_path / "manifest.csv"
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_manifest(path) == rows
