from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepfake_triton import model_repository
from deepfake_triton.repository_record import accept


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracker alone, as the package holds it: a server that starts fast."""
    root = tmp_path_factory.mktemp("small")
    source = Path(model_repository.__path__[0]) / "face_tracker"
    shutil.copytree(source, root / "face_tracker", ignore=shutil.ignore_patterns("__pycache__"))
    accept(root)
    return root
