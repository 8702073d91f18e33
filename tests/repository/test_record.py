"""What is checked before serving: every file against the record at the repository's root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import as_other_user, new_version

from deepfake_triton import cli, contracts
from deepfake_triton.errors import InvalidRepository
from deepfake_triton.export.repository.layout import publish
from deepfake_triton.repository import check as repository_check
from deepfake_triton.repository import record_file as repository_record_file
from deepfake_triton.repository.approval import accept
from deepfake_triton.repository.check import CheckedRepository, check_repository
from deepfake_triton.repository.record import recorded_change
from deepfake_triton.repository.record_file import RECORD_NAME, Record, record_from_bytes, write_record

pytestmark = pytest.mark.fast

SERVED = tuple(sorted(spec.name for spec in contracts.served_models()))
DIGEST = "ab" * 32


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two versions, the second served."""
    for version in (1, 2):
        publish(new_version(tmp_path, version), tmp_path / "repository")
    return tmp_path / "repository"


def edit(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text() + " ")


def plant(path: str) -> Callable[[Path], object]:
    def act(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("planted")

    return act


def replace_by_other_version(path: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / path.replace("/2/", "/1/"), root / path)


def remove(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).unlink()


def link_outside(path: str) -> Callable[[Path], object]:
    def act(root: Path) -> None:
        shutil.move(root / path, root.parent / "outside")
        (root / path).symlink_to(root.parent / "outside")

    return act


def pipe(path: str) -> Callable[[Path], object]:
    def act(root: Path) -> None:
        (root / path).unlink()
        os.mkfifo(root / path)

    return act


CHANGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a Python step": (edit("face_tracker/2/model.py"), "face_tracker/2/model.py", "it changed since"),
    "a crop rule": (edit("face_tracker/2/crop_rule.json"), "face_tracker/2/crop_rule.json", "changed since"),
    "a config": (edit("frame_decoder/config.pbtxt"), "frame_decoder/config.pbtxt", "it changed since"),
    "a graph": (edit("face_detector/2/model.onnx"), "face_detector/2/model.onnx", "it changed since"),
    "a graph of a kept version": (edit("face_detector/1/model.onnx"), "face_detector/1/model.onnx", "since"),
    "a kept config": (
        edit("deepfake_detector/1/configs/face_tracker.pbtxt"),
        "deepfake_detector/1/configs/face_tracker.pbtxt",
        "it changed since",
    ),
    "a swapped version": (
        replace_by_other_version("feature_extractor/2/model.onnx"),
        "feature_extractor/2/model.onnx",
        "it changed since",
    ),
    "the report": (edit("export_report.json"), "export_report.json", "it changed since"),
    "a removed file": (remove("face_tracker/2/crop_rule.json"), "crop_rule.json", "is missing"),
    "a file in a version": (plant("face_tracker/2/json.py"), "face_tracker/2/json.py", "not in the record"),
    "a library": (plant("face_tracker/libtriton_python.so"), "libtriton_python.so", "not in the record"),
    "sourceless bytecode": (plant("face_tracker/2/json.pyc"), "2/json.pyc", "is not in the record"),
    "a version": (plant("face_tracker/3/model.py"), "face_tracker/3/model.py", "is not in the record"),
    "a model with a config": (plant("spy/config.pbtxt"), "repository/spy", "the record does not name"),
    "a model without": (plant("spy/1/model.onnx"), "repository/spy", "the record does not name"),
    "a link": (link_outside("face_tracker/2/model.py"), "face_tracker/2/model.py", "leads outside"),
    "a linked model": (link_outside("face_tracker"), "repository/face_tracker", "leads outside"),
    "a pipe": (pipe("face_tracker/2/model.py"), "face_tracker/2/model.py", "no regular file"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_refused_by_name_with_what_to_do(
    repository: Path, change: tuple[Callable[[Path], object], str, str]
) -> None:
    act, name, says = change
    assert check_repository(repository) == CheckedRepository(SERVED, ())
    act(repository)
    with pytest.raises(InvalidRepository, match=says) as refusal:
        check_repository(repository)
    assert name in str(refusal.value) and "\n" not in str(refusal.value)


def test_accept_says_what_changed_and_the_repository_is_served_again(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change in ("a Python step", "a removed file", "a file in a version", "a model with a config"):
        CHANGES[change][0](repository)
    (repository / "spy" / "1").mkdir()
    assert cli.main(["repository", "accept", str(repository)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "  added     face_tracker/2/json.py",
        "  added     spy/config.pbtxt",
        "  changed   face_tracker/2/model.py",
        "  removed   face_tracker/2/crop_rule.json",
        f"{repository}: recorded as it is, 4 changes",
    ]
    assert check_repository(repository).models == (*SERVED, "spy")
    assert cli.main(["repository", "accept", str(repository)]) == 0
    assert capsys.readouterr().out == f"{repository}: recorded as it is, no changes\n"


def test_accept_refuses_what_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "home" / "letters").mkdir(parents=True)
    for name, says in (("file", "is a file"), ("missing", "no such folder"), ("home", "no model repository")):
        with pytest.raises(InvalidRepository, match=says):
            accept(tmp_path / name)
    assert not (tmp_path / "home" / RECORD_NAME).exists()


def test_a_record_that_cannot_be_read_is_replaced_by_accept(repository: Path) -> None:
    (repository / RECORD_NAME).write_text("{")
    with pytest.raises(InvalidRepository, match=r"is no record of a repository: .*repository accept"):
        check_repository(repository)
    assert len(accept(repository).added) > 20
    assert check_repository(repository).models == SERVED


def test_what_is_nobodys_model_is_passed_over(repository: Path) -> None:
    for path in (
        *("lost+found/1/model.py", "@eaDir/config.pbtxt", "#recycle/spy/config.pbtxt", ".git/config.pbtxt"),
        *(".partial-x/config.pbtxt", "face_tracker/.nfs0001", "face_tracker/2/.DS_Store", "notes/todo.txt"),
        *("face_tracker/@eaDir/model.py", "face_tracker/2/__pycache__/model.cpython-311.pyc", "README.md"),
    ):
        plant(path)(repository)
    (repository / "face_detector" / "7").mkdir()
    assert check_repository(repository) == CheckedRepository(SERVED, ())
    assert accept(repository).added == ()


def test_a_mount_of_kubernetes_is_served(repository: Path) -> None:
    """Every entry of it is a link into a folder that `..data` names."""
    stamp = repository / "..2026_11_26"
    stamp.mkdir()
    for path in list(repository.iterdir()):
        if path != stamp:
            path.rename(stamp / path.name)
            path.symlink_to(Path("..data") / path.name)
    (repository / "..data").symlink_to(stamp.name)
    assert check_repository(repository) == CheckedRepository(SERVED, ())
    edit("face_tracker/2/model.py")(repository)
    with pytest.raises(InvalidRepository, match=r"face_tracker/2/model\.py: sha256"):
        check_repository(repository)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user")
def test_another_user_serves_it_with_folders_that_only_root_may_read(
    repository: Path, shared_folder: Path
) -> None:
    copy = shared_folder / "repository"
    shutil.copytree(repository, copy)
    for name in ("lost+found", "private"):
        plant(f"{name}/config.pbtxt")(copy)
        (copy / name).chmod(0)
    assert as_other_user(lambda: check_repository(copy).models) == str(SERVED)
    (copy / "face_tracker" / "2").chmod(0)
    said = as_other_user(lambda: check_repository(copy))
    assert "face_tracker/2: cannot be read: Permission denied" in said
    (copy / "face_tracker" / "2").chmod(0o755)
    plant("face_tracker/2/new.py")(copy)
    assert "cannot be written: Permission denied" in as_other_user(lambda: accept(copy))


def test_an_older_export_is_served_with_a_warning(repository: Path) -> None:
    (repository / RECORD_NAME).unlink()
    plant(".git/config.pbtxt")(repository)
    plant("lost+found/config.pbtxt")(repository)
    checked = check_repository(repository)
    assert checked.models == SERVED
    (warning,) = checked.warnings
    assert f"deepfake-triton repository accept {repository}" in warning
    plant("$(id)/config.pbtxt")(repository)
    with pytest.raises(InvalidRepository, match="a model's name has letters"):
        check_repository(repository)


def test_a_hidden_change_during_a_change_is_not_blessed(repository: Path) -> None:
    record = record_from_bytes((repository / RECORD_NAME).read_bytes(), repository)
    path = "face_tracker/2/model.py"
    with (
        pytest.raises(InvalidRepository, match="it changed since"),
        recorded_change(repository, record, {path: {DIGEST}}),
    ):
        edit(path)(repository)
    with pytest.raises(InvalidRepository, match="it changed since"):
        check_repository(repository)


def test_a_change_that_was_interrupted_is_served_and_said(repository: Path) -> None:
    """As after `kill -9`: the record has both what was and what was to be."""
    content = (repository / RECORD_NAME).read_bytes()
    record = record_from_bytes(content, repository)
    write_record(repository, Record(record.files, {"face_tracker/2/new.py": (DIGEST,)}, record.export_sha256))
    (warning,) = check_repository(repository).warnings
    assert "was interrupted" in warning and f"repository accept {repository}" in warning
    assert accept(repository).added == ()
    assert check_repository(repository).warnings == ()


def test_a_check_beside_a_change_looks_again(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is rewritten, and a file with it, between the check's reading of both."""
    read = repository_record_file.read_record_bytes

    def raced(folder: Path) -> bytes | None:
        content = read(folder)
        if not (folder / "face_tracker/2/more.py").exists():
            plant("face_tracker/2/more.py")(folder)
            accept(folder)
        return content

    monkeypatch.setattr(repository_check, "read_record_bytes", raced)
    assert check_repository(repository) == CheckedRepository(SERVED, ())
    assert (repository / "face_tracker/2/more.py").exists()
