from __future__ import annotations

import logging

import pytest

from deepfake_triton.console.logs import warnings_on_stderr

pytestmark = pytest.mark.fast


def test_warnings_of_the_named_loggers_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    own, other = logging.getLogger("logs_test.own"), logging.getLogger("logs_test.other")
    with warnings_on_stderr("logs_test.own"):
        own.getChild("module").warning("%s is gone:\n\x1b[2J", "it")
        own.info("not a warning")
        other.warning("of another library")
    assert capsys.readouterr().err == "deepfake-triton: it is gone:\\n\\x1b[2J\n"
    own.warning("after the command")
    assert "deepfake-triton" not in capsys.readouterr().err
