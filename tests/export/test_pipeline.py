from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from deepfake_triton import cli
from deepfake_triton.errors import ExportError
from deepfake_triton.export.options import ExportOptions, ParityOptions, UntrainedWeights
from deepfake_triton.export.parity.check import BATCHES, CLIP_LENGTHS
from deepfake_triton.export.pipeline import export

pytestmark = pytest.mark.compute


def test_the_report_tells_what_was_exported(published_repository: Path, published_checkpoint: Path) -> None:
    report = json.loads((published_repository / "export_report.json").read_text())
    assert report["checkpoint"]["layout"] == "published" and report["checkpoint"]["weights"] == "custom"
    assert report["checkpoint"]["sha256"] == hashlib.sha256(published_checkpoint.read_bytes()).hexdigest()
    for model, digest in report["onnx"]["sha256"].items():
        data = (published_repository / model / "1" / "model.onnx").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
    parity = report["parity"]
    assert parity["crops"] == "40 faces from still_portrait.mp4"
    assert {(case["batch"], case["frames"]) for case in parity["cases"]} == {
        (batch, frames) for batch in BATCHES for frames in CLIP_LENGTHS
    }
    assert parity["logit_spread"] > 2
    assert max(case["max_logit_difference"] for case in parity["cases"]) <= parity["limits"]["logit"]
    assert report["versions"]["torch"].startswith("2.") and report["versions"]["deepfake-triton"]


def test_two_exports_of_one_checkpoint_are_one_identity(
    *, published_repository: Path, published_checkpoint: Path, brief_clip: Path, tmp_path: Path
) -> None:
    def sha256(path: Path) -> str:
        return str(json.loads((path / "export_report.json").read_text())["export_sha256"])

    arguments = ["export", "--checkpoint", str(published_checkpoint), "--parity", str(brief_clip), "--output"]
    assert cli.main([*arguments, str(tmp_path / "same")]) == 0
    assert sha256(tmp_path / "same") == sha256(published_repository)
    assert cli.main([*arguments, str(tmp_path / "other"), "--crop-margin", "0.1"]) == 0
    assert sha256(tmp_path / "other") != sha256(published_repository)
    rule = json.loads((tmp_path / "other" / "face_tracker" / "1" / "crop_rule.json").read_text())
    assert rule == {"side": 112, "margin": 0.1}


def test_untrained_weights_are_said_to_mean_nothing(
    brief_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--untrained", "--parity", str(brief_clip), "--output", str(tmp_path / "repository")]
    assert cli.main(["export", *arguments]) == 0
    assert "means nothing" in capsys.readouterr().out
    report = json.loads((tmp_path / "repository" / "export_report.json").read_text())
    assert report["checkpoint"]["weights"] == "untrained"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--checkpoint", "missing.pt"], "missing.pt: no such file"),
        (["--detector", "mtcnn"], "expected centerface"),
        (["--detector", "centerface:missing.onnx"], "missing.onnx"),
        (["--detector-size", "100"], "multiple of 32"),
        (["--crop-side", "5"], "crop_side: got 5"),
        (["--parity", "missing.mp4"], "missing.mp4: no such file"),
    ],
)
def test_a_failed_export_is_one_line_and_writes_nothing(
    *, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.main(["export", "--output", str(tmp_path / "repository"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("deepfake-triton: ") and says in line
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_repository(brief_clip: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk of its own can be mounted by root only")
    try:
        with pytest.raises(ExportError, match=r"cannot be written: .*No space left"):
            export(ExportOptions(disk / "repository", UntrainedWeights(), parity=ParityOptions(brief_clip)))
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
