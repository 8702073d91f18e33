"""A Triton beside the gateway that cannot be watched any more, for whatever reason, says so."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deepfake_triton.commands.embedded_triton import EmbeddedTriton
from deepfake_triton.errors import InvalidRepository, ServerFailed
from deepfake_triton.serving.supervisor import Supervisor

pytestmark = pytest.mark.fast


def failing(error: Exception | None) -> object:
    def run(_supervisor: Supervisor) -> None:
        if error:
            raise error

    return run


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(28, "No space left on device"), ServerFailed, "cannot be kept running.*No space left"),
        (RuntimeError("can't start new thread"), ServerFailed, "cannot be kept running.*new thread"),
        (InvalidRepository("no repository"), InvalidRepository, "no repository"),
    ],
)
def test_every_failure_is_told_before_it_is_ready_and_after(
    *,
    error: Exception,
    kind: type[Exception],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Supervisor, "run", failing(error))
    ended = threading.Event()
    with EmbeddedTriton(tmp_path) as triton:
        triton.when_ended(ended.set)
        with pytest.raises(kind, match=says):
            triton.ready.result(10)
        assert ended.wait(10)
        with pytest.raises(kind, match=says):
            triton.raise_failure()


def test_one_that_never_was_ready_does_not_pass_for_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Supervisor, "run", failing(None))
    with EmbeddedTriton(tmp_path) as triton, pytest.raises(ServerFailed, match="before it was ready"):
        triton.ready.result(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_program_is_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Supervisor, "run", failing(KeyError("model")))
    with EmbeddedTriton(tmp_path) as triton:
        with pytest.raises(ServerFailed, match="a fault of this program"):
            triton.ready.result(10)
        with pytest.raises(ServerFailed, match="a fault of this program"):
            triton.raise_failure()
