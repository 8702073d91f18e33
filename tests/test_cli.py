from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepfake_triton import __version__, cli

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


def test_help_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and all(name in text for name in cli.SUBCOMMANDS)
    for name in cli.SUBCOMMANDS:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0 and len(capsys.readouterr().out.splitlines()) > 5


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"deepfake-triton {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["juggle"], ["serve"], ["export"], ["serve", ".", "--http-port", "x"]]
)
def test_wrong_options_are_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_a_missing_part_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "deepfake_triton.export.pipeline", None)
    assert cli.main(["export", "--output", "somewhere"]) == 1
    assert "pip install 'deepfake-triton[export" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_status_130(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [COMMAND, "export", "--output", str(tmp_path / "repository")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "tmp").glob("deepfake-triton-*/*.onnx")):  # until it writes its graphs
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "deepfake-triton: interrupted"
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    assert not list((tmp_path / "tmp").glob("deepfake-triton-*"))


def test_a_missing_client_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "deepfake_triton.client.command", None)
    assert cli.main(["detect", "a.mp4"]) == 1
    assert "pip install 'deepfake-triton[client]'" in capsys.readouterr().err
