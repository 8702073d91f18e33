from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_triton.host.cpu import has_bf16, has_vnni
from deepfake_triton.repository.integrity import cpu_warnings

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("model name: x\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags : fpu avx2 avx_vnni\n", True),
        ("flags : fpu avx2 avx512f\n", False),
        ("Features : fp asimd asimddp\n", True),
    ],
)
def test_which_processors_add_exactly(tmp_path: Path, text: str, exact: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_vnni(tmp_path / "cpuinfo") == exact
    assert has_vnni(tmp_path / "none")


@pytest.mark.parametrize(
    ("report", "exact", "warned"),
    [
        ({"engine": "onnx", "precision": "int8", "weight_bits": 8}, False, True),
        ({"engine": "onnx", "precision": "int8"}, False, True),
        ({"engine": "onnx", "precision": "int8", "weight_bits": 8}, True, False),
        ({"engine": "onnx", "precision": "int8", "weight_bits": 7}, False, False),
        ({"engine": "tensorrt", "precision": "int8", "weight_bits": 8}, False, False),
        ({"engine": "onnx", "precision": "fp32", "weight_bits": 32}, False, False),
    ],
)
def test_int8_from_another_kind_of_processor_is_warned_of(
    *, tmp_path: Path, report: dict[str, object], exact: bool, warned: bool
) -> None:
    assert cpu_warnings(tmp_path, exact=exact, has_bf16=False) == []
    (tmp_path / "export_report.json").write_text(json.dumps({"version": 1, **report}))
    assert bool(cpu_warnings(tmp_path, exact=exact, has_bf16=False)) == warned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags : fpu avx512_bf16 avx512_vnni\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx512_vnni\n", False),
        ("Features : fp asimd bf16\n", False),
    ],
)
def test_which_processors_have_bfloat16(*, tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bf16(tmp_path / "cpuinfo") == expected
    assert not has_bf16(tmp_path / "none")


def test_bf16_on_a_processor_without_it_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "export_report.json").write_text(json.dumps({"version": 1, "precision": "bf16"}))
    (warning,) = cpu_warnings(tmp_path, exact=True, has_bf16=False)
    assert "computed in FP32" in warning
    assert cpu_warnings(tmp_path, exact=True, has_bf16=True) == []
