"""What the embedded Triton needs of this environment, said before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.errors import MissingDependency
from deepfake_triton.serving.triton_wheel import find_installation

pytestmark = pytest.mark.fast


def test_numpy_2_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_installation().executable.is_file()
    info = tmp_path / "numpy-2.3.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.3.4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependency, match=r"numpy 2\.3\.4 is installed.*empty tensors.*\[server,cpu\]"):
        find_installation()


def test_without_the_wheel_the_message_names_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        MissingDependency, match=r"'deepfake-triton\[server,cpu\]' .Linux, x86-64, Python 3\.10"
    ):
        find_installation()
