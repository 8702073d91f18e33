from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import new_version

from deepfake_triton import cli, contracts
from deepfake_triton.errors import RepositoryConflict, ServerFailed
from deepfake_triton.export.configs import config_from_text, loaded_versions
from deepfake_triton.export.repository import publish
from deepfake_triton.export.versions import activate, active_version, prune, versions_of

STEPS = tuple(spec.name for spec in contracts.served_models()[:-1])
"""All but the ensemble that clients ask, also the one for JPEG files."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        publish(new_version(tmp_path, version), tmp_path / "repository")
    return tmp_path / "repository"


def served(repository: Path, name: str) -> list[int]:
    return loaded_versions(config_from_text((repository / name / "config.pbtxt").read_text()))


def test_list_names_every_version_and_the_active_one(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [(each.version, each.active) for each in versions_of(repository)] == [
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
    publish(new_version(repository.parent, 4), repository)
    assert active_version(repository) == 4


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

    def wait_until_alone(self, model: str, version: int) -> None:
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


def test_prune_keeps_the_active_version_and_the_newest_others(repository: Path) -> None:
    activate(repository, 1)
    assert prune(repository, keep=1) == [2]
    assert [each.version for each in versions_of(repository)] == [1, 3]
    assert prune(repository, keep=5) == prune(repository, keep=2) == []
    assert cli.main(["repository", "prune", str(repository), "--keep", "0"]) == 0
    assert [each.version for each in versions_of(repository)] == [1]
    assert not list(repository.glob("*/3"))


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    for action in (versions_of, lambda folder: activate(folder, 1), lambda folder: prune(folder, 1)):
        with pytest.raises(RepositoryConflict, match="no repository"):
            action(tmp_path)
        with pytest.raises(RepositoryConflict, match="no repository"):
            action(tmp_path / "nothing")


def test_a_damaged_repository_is_said_and_no_traceback(repository: Path) -> None:
    (repository / "deepfake_detector" / "config.pbtxt").write_text("name: [")
    with pytest.raises(RepositoryConflict, match="cannot be used as a repository"):
        versions_of(repository)
