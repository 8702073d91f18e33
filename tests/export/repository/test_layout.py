from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import Killed, new_version, stop_at

from deepfake_triton import contracts
from deepfake_triton.errors import InvalidRepository, RepositoryConflict
from deepfake_triton.export.repository import layout
from deepfake_triton.export.repository.configs import config_from_text, loaded_versions
from deepfake_triton.export.repository.layout import (
    NewVersion,
    next_version_number,
    publish,
    require_room,
)
from deepfake_triton.export.repository.versions import list_versions, prune
from deepfake_triton.repository.check import CheckedRepository, check_repository
from deepfake_triton.repository.export_report import ExportReport, read_report
from deepfake_triton.repository.record_file import RECORD_NAME

pytestmark = pytest.mark.fast


SERVED = tuple(sorted(spec.name for spec in contracts.served_models()))


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def is_whole(root: Path) -> bool:
    """Whether a server that starts now finds all that the ensemble pins."""
    ensemble = config_from_text((root / "deepfake_detector/config.pbtxt").read_text())
    for step in ensemble.ensemble_scheduling.step:
        config = config_from_text((root / step.model_name / "config.pbtxt").read_text())
        folder = root / step.model_name / str(step.model_version)
        artefact = folder / ("model.py" if config.backend == "python" else "model.onnx")
        if step.model_version not in loaded_versions(config) or not artefact.is_file():
            return False
    return True


def is_served(root: Path) -> bool:
    """Whether that is also what the record allows."""
    return is_whole(root) and check_repository(root).models == SERVED


def test_a_first_export_makes_the_repository(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "repository"
    assert next_version_number(output) == 1
    publish(new_version(tmp_path, 1), output)
    assert is_whole(output)
    assert files_of(output) == [
        "deepfake_detector/1/configs/deepfake_detector.pbtxt",
        "deepfake_detector/1/configs/deepfake_detector_jpeg.pbtxt",
        "deepfake_detector/1/configs/face_detector.pbtxt",
        "deepfake_detector/1/configs/face_tracker.pbtxt",
        "deepfake_detector/1/configs/feature_extractor.pbtxt",
        "deepfake_detector/1/configs/frame_decoder.pbtxt",
        "deepfake_detector/1/configs/probability_mask.pbtxt",
        "deepfake_detector/1/configs/sequence_classifier.pbtxt",
        "deepfake_detector/1/export_report.json",
        "deepfake_detector/config.pbtxt",
        "deepfake_detector_jpeg/config.pbtxt",
        "export_report.json",
        "face_detector/1/model.onnx",
        "face_detector/config.pbtxt",
        "face_tracker/1/crop_rule.json",
        "face_tracker/1/model.py",
        "face_tracker/config.pbtxt",
        "feature_extractor/1/model.onnx",
        "feature_extractor/config.pbtxt",
        "frame_decoder/1/model.py",
        "frame_decoder/config.pbtxt",
        "probability_mask/1/model.py",
        "probability_mask/config.pbtxt",
        "repository_record.json",
        "sequence_classifier/1/model.onnx",
        "sequence_classifier/config.pbtxt",
    ]
    assert output.stat().st_mode & 0o777 == 0o755
    assert check_repository(output) == CheckedRepository(SERVED, ())


def test_an_export_with_a_detection_interval_has_the_sampler_and_tells_the_tracker(tmp_path: Path) -> None:
    publish(new_version(tmp_path, 1), tmp_path / "every")
    publish(new_version(tmp_path, 1, detection_interval=4), tmp_path / "some")
    assert is_whole(tmp_path / "some")
    assert set(files_of(tmp_path / "some")) - set(files_of(tmp_path / "every")) == {
        "deepfake_detector/1/configs/frame_sampler.pbtxt",
        "face_tracker/1/detection_rule.json",
        "frame_sampler/1/model.onnx",
        "frame_sampler/config.pbtxt",
    }
    assert (tmp_path / "some/face_tracker/1/detection_rule.json").read_text() == '{"interval": 4}\n'


@pytest.mark.parametrize("foreign", ["", "lost+found", "@eaDir/1", ".snapshot/1", "lost+found/77/8"])
def test_an_empty_folder_is_filled_also_a_fresh_volume(tmp_path: Path, foreign: str) -> None:
    output = tmp_path / "repository"
    (output / foreign).mkdir(parents=True)
    require_room(output, 112)
    assert next_version_number(output) == 1
    publish(new_version(tmp_path, 1), output)
    assert is_served(output) and not check_repository(output).warnings
    publish(new_version(tmp_path, 2), output)
    assert is_served(output) and not list(output.rglob(".partial*"))
    assert [each.version for each in list_versions(output)] == [1, 2]
    assert prune(output, keep=0) == [1] and is_served(output)
    assert (output / foreign).is_dir()


def test_an_export_does_not_bless_what_others_changed(tmp_path: Path) -> None:
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    (output / "face_tracker/1/model.py").write_text("planted")
    before = files_of(output)
    with pytest.raises(RepositoryConflict, match="it changed since"):
        require_room(output, 112)
    with pytest.raises(RepositoryConflict, match="it changed since"):
        publish(new_version(tmp_path, 2), output)
    assert files_of(output) == before


def test_an_older_repository_gets_a_version_and_no_record(tmp_path: Path) -> None:
    """Nobody can vouch for what it held before."""
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    (output / RECORD_NAME).unlink()
    publish(new_version(tmp_path, 2), output)
    assert is_whole(output) and len(check_repository(output).warnings) == 1


@pytest.mark.parametrize("count", range(1, 25, 3))
def test_an_export_that_was_killed_leaves_what_is_served_and_can_be_repeated(
    tmp_path: Path, count: int
) -> None:
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, count)
        publish(new_version(tmp_path, 2), output)
    assert is_served(output)
    require_room(output, 112)
    publish(new_version(tmp_path, next_version_number(output)), output)
    assert is_served(output) and not check_repository(output).warnings


@pytest.mark.parametrize("count", range(1, 10, 2))
def test_a_first_export_into_a_volume_that_was_killed_can_be_repeated(tmp_path: Path, count: int) -> None:
    output = tmp_path / "repository"
    (output / "lost+found").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, count)
        publish(new_version(tmp_path, 1), output)
    with pytest.raises(InvalidRepository, match=r"no model repository|has not finished; .* run it again"):
        check_repository(output)
    require_room(output, 112)
    publish(new_version(tmp_path, next_version_number(output)), output)
    assert is_served(output) and not check_repository(output).warnings


def test_a_full_disk_at_the_end_is_typed_and_changes_nothing(tmp_path: Path) -> None:
    """Where the record is written, which comes after the files."""
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    before = {path: (output / path).read_bytes() for path in files_of(output)}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("os.fsync", full)
        publish(new_version(tmp_path, 2), output)
    assert {path: (output / path).read_bytes() for path in files_of(output)} == before
    assert is_served(output) and not check_repository(output).warnings


def test_a_further_export_becomes_the_next_version(tmp_path: Path) -> None:
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    (output / "face_detector" / "4").mkdir()  # left behind by somebody
    assert next_version_number(output) == 5
    publish(new_version(tmp_path, 5), output)
    assert is_whole(output)
    assert (output / "feature_extractor/1/model.onnx").read_text() == "feature_extractor 1"
    assert (output / "feature_extractor/5/model.onnx").read_text() == "feature_extractor 5"
    config = config_from_text((output / "feature_extractor/config.pbtxt").read_text())
    assert loaded_versions(config) == [5]
    assert read_report(output / "export_report.json") == ExportReport(5)
    assert not list(output.rglob(".partial*"))


def test_at_every_moment_a_server_finds_a_whole_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look at the folder at every rename of the second export."""
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    seen: list[bool] = []

    def watched(name: str) -> None:
        original = getattr(Path, name)

        def moved(self: Path, target: Path) -> Path:
            seen.append(is_served(output))
            result: Path = original(self, target)
            seen.append(is_served(output))
            return result

        monkeypatch.setattr(Path, name, moved)

    watched("rename")
    watched("replace")
    publish(new_version(tmp_path, 2), output)
    assert len(seen) >= 20 and all(seen)
    assert not check_repository(output).warnings


@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    output = tmp_path / "repository"
    if existing:
        publish(new_version(tmp_path, 1), output)
    before = files_of(tmp_path / "repository") if existing else []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        publish(new_version(tmp_path, 2), output)
    assert output.exists() == existing
    assert not existing or files_of(output) == before
    assert not list(tmp_path.rglob(".partial*"))


def test_two_exports_of_one_version_do_not_mix(tmp_path: Path) -> None:
    output = tmp_path / "repository"
    publish(new_version(tmp_path, 1), output)
    publish(new_version(tmp_path, 2), output)
    with pytest.raises(RepositoryConflict, match="export again"):
        publish(new_version(tmp_path, 2), output)
    assert is_whole(output)


def test_two_first_exports_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one finishes between this one's look at the folder and its rename."""
    output = tmp_path / "repository"
    write = layout._write

    def slow(new: NewVersion, root: Path) -> None:
        write(new, root)
        monkeypatch.setattr(layout, "_write", write)
        publish(replace(new, report=ExportReport(1, "of the other")), output)

    monkeypatch.setattr(layout, "_write", slow)
    with pytest.raises(RepositoryConflict, match="faster; export again"):
        publish(new_version(tmp_path, 1), output)
    assert read_report(output / "export_report.json").export_sha256 == "of the other"
    assert is_whole(output) and not list(tmp_path.rglob(".partial*"))


def test_an_empty_folder_shows_the_ensemble_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount point cannot be renamed over: what appears in it is whole, and the ensemble comes last."""
    output = tmp_path / "repository"
    output.mkdir()
    appeared: list[str] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        appeared.append(target.name)
        assert target.parent == output and (self.is_file() or (self / "config.pbtxt").is_file())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    publish(new_version(tmp_path, 1), output)
    assert appeared[-2:] == ["deepfake_detector", "export_report.json"] and len(appeared) == 9
