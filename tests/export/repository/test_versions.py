from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import Killed, new_version, stop_at

from deepfake_triton import cli, contracts
from deepfake_triton.errors import InvalidRepository, RepositoryConflict, ServerFailed
from deepfake_triton.export.repository.configs import config_from_text, config_text, loaded_versions
from deepfake_triton.export.repository.layout import publish
from deepfake_triton.export.repository.versions import activate, active_version, list_versions, prune
from deepfake_triton.repository import record as repository_record
from deepfake_triton.repository.approval import accept
from deepfake_triton.repository.check import check_repository
from deepfake_triton.repository.record_file import RECORD_NAME

pytestmark = pytest.mark.fast

STEPS = tuple(spec.name for spec in contracts.served_models()[:-1])
"""All but the ensemble that clients ask, also the one for JPEG files."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        publish(new_version(tmp_path, version), tmp_path / "repository")
    return tmp_path / "repository"


def served(repository: Path, name: str) -> list[int]:
    return loaded_versions(config_from_text((repository / name / "config.pbtxt").read_text()))


def assert_recorded(repository: Path) -> None:
    """Its record is finished, and is what a new one would be."""
    assert not check_repository(repository).warnings
    before = (repository / RECORD_NAME).read_bytes()
    accept(repository)
    assert (repository / RECORD_NAME).read_bytes() == before


def test_list_names_every_version_and_the_active_one(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [(each.version, each.active) for each in list_versions(repository)] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert cli.main(["repository", "list", str(repository), "--json"]) == 0
    assert [each["version"] for each in json.loads(capsys.readouterr().out)] == [1, 2, 3]
    assert cli.main(["repository", "list", str(repository)]) == 0
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == [" ", " ", "*"]


def test_activate_goes_back_and_forth(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["repository", "activate", str(repository), "1"]) == 0
    assert "version 1 is active, before it was 3" in capsys.readouterr().out
    assert all(served(repository, name) == [1] for name in (*STEPS, "deepfake_detector"))
    ensemble = config_from_text((repository / "deepfake_detector" / "config.pbtxt").read_text())
    assert {step.model_version for step in ensemble.ensemble_scheduling.step} == {1}
    assert ensemble.parameters["export_version"].string_value == "1"
    assert activate(repository, 3) == 1 and active_version(repository) == 3
    with pytest.raises(RepositoryConflict, match="no version 9; there are 1, 2, 3"):
        activate(repository, 9)
    assert_recorded(repository)
    publish(new_version(repository.parent, 4), repository)
    assert active_version(repository) == 4


@pytest.mark.parametrize(
    "path", ["face_tracker/1/model.py", "deepfake_detector/1/configs/face_tracker.pbtxt"]
)
def test_what_changes_a_repository_does_not_bless_a_foreign_change(repository: Path, path: str) -> None:
    (repository / path).write_text("planted")
    before = (repository / RECORD_NAME).read_bytes()
    for change in (
        lambda: activate(repository, 2),
        lambda: activate(repository, 1),
        lambda: prune(repository, 0),
    ):
        with pytest.raises(InvalidRepository, match="it changed since"):
            change()
    assert (repository / RECORD_NAME).read_bytes() == before and active_version(repository) == 3
    accept(repository)
    assert prune(repository, 0) == [1, 2]
    assert_recorded(repository)


def test_an_older_repository_is_compared_with_its_reports_and_gets_no_record(repository: Path) -> None:
    (repository / RECORD_NAME).unlink()
    assert activate(repository, 1) == 3 and prune(repository, 0) == [2, 3]
    assert not (repository / RECORD_NAME).exists()


@pytest.mark.parametrize("count", range(1, 17, 2))
def test_a_change_that_was_killed_is_served_and_finished_by_the_same_command(
    repository: Path, count: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, count)
        activate(repository, 1)
    check_repository(repository)
    activate(repository, 1)
    assert all(served(repository, name) == [1] for name in (*STEPS, "deepfake_detector"))
    assert_recorded(repository)


@pytest.mark.parametrize("count", range(0, 14, 4))
def test_pruning_that_was_killed_is_finished_by_the_next(repository: Path, count: int) -> None:
    removals = iter(range(count))
    remove = shutil.rmtree

    def stopped(folder: Path, ignore_errors: bool = False) -> None:
        if folder.name.isdecimal() and next(removals, None) is None:
            raise Killed
        remove(folder, ignore_errors=ignore_errors)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, "rmtree", stopped)
        patch.setattr(repository_record, "_finish_change", lambda *_: None)
        prune(repository, 0)
    assert "was interrupted" in check_repository(repository).warnings[0]
    prune(repository, 0)
    assert [each.version for each in list_versions(repository)] == [3]
    assert_recorded(repository)


def test_foreign_folders_are_no_versions(repository: Path) -> None:
    for path in ("lost+found/9", "@eaDir/9", "notes/9", "face_detector/.9", "face_tracker/@eaDir"):
        (repository / path).mkdir(parents=True)
    assert [each.version for each in list_versions(repository)] == [1, 2, 3]
    assert prune(repository, 0) == [1, 2] and (repository / "lost+found/9").is_dir()
    publish(new_version(repository.parent, 4), repository)
    assert_recorded(repository)


class Recorder:
    """A server that serves some versions, and says what the configs were when it read them."""

    def __init__(self, repository: Path, versions: set[int], refuses: str = "") -> None:
        self.repository, self.versions, self.refuses = repository, versions, refuses
        self.seen: list[tuple[str, list[int]]] = []

    def loaded(self, model: str) -> set[int]:
        return self.versions if (self.repository / model).is_dir() else set()

    def reload(self, model: str) -> None:
        self.seen.append((model, served(self.repository, model)))
        if model == self.refuses:
            self.refuses = ""
            raise ServerFailed("no")

    def wait_until_drained(self, model: str, version: int) -> None:
        self.seen.append((f"{model} alone", [version]))


def test_a_server_has_both_versions_until_the_ensemble_points_to_the_new_one(repository: Path) -> None:
    server = Recorder(repository, {3})
    assert activate(repository, 2, server) == 3
    count = len(STEPS)
    assert server.seen[:count] == [(name, [2, 3]) for name in STEPS]
    assert server.seen[count : count + 2] == [("deepfake_detector", [2]), ("deepfake_detector alone", [2])]
    assert server.seen[count + 2 :] == [(each, [2]) for name in STEPS for each in (name, f"{name} alone")]
    assert json.loads((repository / "export_report.json").read_text())["version"] == 2


def test_what_the_server_runs_counts_and_not_what_the_disk_says(repository: Path) -> None:
    server = Recorder(repository, {1})  # started before versions 2 and 3 were exported
    assert activate(repository, 3, server) == 1
    assert server.seen[0] == (STEPS[0], [1, 3]) and server.seen[-2] == (STEPS[-1], [3])


def test_a_version_that_does_not_load_is_taken_back(repository: Path) -> None:
    before = {path: path.read_text() for path in repository.glob("*/config.pbtxt")}
    with pytest.raises(ServerFailed, match="no"):
        activate(repository, 1, Recorder(repository, {3}, refuses="sequence_classifier"))
    assert {path: path.read_text() for path in repository.glob("*/config.pbtxt")} == before
    assert_recorded(repository)


def without_the_mask(repository: Path, version: int) -> None:
    """Make a version one of an older export, whose tracker counts no faces and which masks nothing."""
    shutil.rmtree(repository / "probability_mask" / str(version))
    kept = repository / "deepfake_detector" / str(version) / "configs"
    (kept / "probability_mask.pbtxt").unlink()
    tracker = config_from_text((kept / "face_tracker.pbtxt").read_text())
    assert tracker.output.pop().name == "faces_left_out"
    (kept / "face_tracker.pbtxt").write_text(config_text(tracker))
    accept(repository)


def test_versions_of_older_exports_are_activated_and_pruned_beside_newer_ones(repository: Path) -> None:
    without_the_mask(repository, 1)
    assert [each.version for each in list_versions(repository)] == [1, 2, 3]
    assert activate(repository, 1) == 3
    older = config_from_text((repository / "face_tracker/config.pbtxt").read_text())
    assert [output.name for output in older.output] == ["faces", "boxes", "observed"]
    assert served(repository, "probability_mask") == [3], "which nobody asks"
    assert_recorded(repository)
    assert activate(repository, 3) == 1 and active_version(repository) == 3
    assert prune(repository, 0) == [1, 2]
    assert_recorded(repository)


def test_a_repository_of_an_older_release_takes_a_new_version(repository: Path) -> None:
    for version in (1, 2, 3):
        without_the_mask(repository, version)
    shutil.rmtree(repository / "probability_mask")
    accept(repository)
    assert activate(repository, 2) == 3 and prune(repository, 1) == [1]
    publish(new_version(repository.parent, 4), repository)
    assert [each.version for each in list_versions(repository)] == [2, 3, 4]
    assert active_version(repository) == 4 and served(repository, "probability_mask") == [4]
    assert_recorded(repository)


def test_versions_with_and_without_a_detection_interval_take_turns(repository: Path) -> None:
    publish(new_version(repository.parent, 4, detection_interval=4), repository)
    assert active_version(repository) == 4 and served(repository, "frame_sampler") == [4]
    assert activate(repository, 2) == 4 and active_version(repository) == 2
    assert served(repository, "frame_sampler") == [4], "which nobody asks"
    assert_recorded(repository)
    assert activate(repository, 4) == 2
    publish(new_version(repository.parent, 5, detection_interval=2), repository)
    assert served(repository, "frame_sampler") == [5]
    assert prune(repository, 0) == [1, 2, 3, 4]
    assert (repository / "face_tracker/5/detection_rule.json").read_text() == '{"interval": 2}\n'
    assert_recorded(repository)


def test_while_an_older_version_takes_over_the_newer_one_has_its_outputs(repository: Path) -> None:
    without_the_mask(repository, 1)
    outputs: list[list[str]] = []

    class Watched(Recorder):
        def reload(self, model: str) -> None:
            super().reload(model)
            if model == "face_tracker":
                config = config_from_text((self.repository / model / "config.pbtxt").read_text())
                outputs.append([output.name for output in config.output])

    activate(repository, 1, Watched(repository, {3}))
    tracker = ["faces", "boxes", "observed"]
    assert outputs == [[*tracker, "faces_left_out"], tracker]


def test_an_older_version_that_does_not_load_leaves_the_mask_as_it_was(repository: Path) -> None:
    without_the_mask(repository, 1)
    activate(repository, 1)
    before = {path: path.read_text() for path in repository.glob("*/config.pbtxt")}
    with pytest.raises(ServerFailed, match="no"):
        activate(repository, 2, Recorder(repository, {1}, refuses="probability_mask"))
    assert {path: path.read_text() for path in repository.glob("*/config.pbtxt")} == before
    assert_recorded(repository)


def test_prune_keeps_the_active_version_and_the_newest_others(repository: Path) -> None:
    activate(repository, 1)
    assert prune(repository, keep=1) == [2]
    assert [each.version for each in list_versions(repository)] == [1, 3]
    assert prune(repository, keep=5) == prune(repository, keep=2) == []
    assert cli.main(["repository", "prune", str(repository), "--keep", "0"]) == 0
    assert [each.version for each in list_versions(repository)] == [1]
    assert not list(repository.glob("*/3"))
    assert_recorded(repository)


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    for action in (list_versions, lambda folder: activate(folder, 1), lambda folder: prune(folder, 1)):
        with pytest.raises(RepositoryConflict, match="no repository"):
            action(tmp_path)
        with pytest.raises(RepositoryConflict, match="no repository"):
            action(tmp_path / "nothing")


def test_a_damaged_repository_is_said_and_no_traceback(repository: Path) -> None:
    (repository / "deepfake_detector" / "config.pbtxt").write_text("name: [")
    with pytest.raises(RepositoryConflict, match="cannot be used as a repository"):
        list_versions(repository)
