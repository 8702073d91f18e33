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


@pytest.mark.compute
def test_help_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and all(name in text for name in cli.SUBCOMMANDS)
    for name in cli.SUBCOMMANDS:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0 and len(capsys.readouterr().out.splitlines()) > 5


WITHOUT_EXTRAS = """
import sys
EXTRAS = ("av", "grpc", "tritonclient", "google", "torch", "onnx", "onnxruntime", "onnxscript", "rich")
EXTRAS += ("dlib", "tqdm", "simpy")
EXTRAS += ("matplotlib", "safetensors", "psutil", "fastapi", "uvicorn", "pytriton", "cryptography", "skvideo")
EXTRAS += ("opentelemetry", "efficientnet_lite_pytorch", "tensorrt", "tensorrt_rtx_bindings", "insightface")

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from deepfake_triton import cli
deeper = ["dataset", "crops"], ["bench", "load"], ["repository", "list"]
for name in [[], *([name] for name in cli.SUBCOMMANDS), *deeper]:
    try:
        sys.exit(cli.main([*name, "--help"]))
    except SystemExit as end:
        print("STATUS", *name, end.code)
"""


@pytest.mark.compute
def test_help_needs_no_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stderr == ""
    ended = [line for line in done.stdout.splitlines() if line.startswith("STATUS")]
    assert len(ended) == len(cli.SUBCOMMANDS) + 4 and all(line.endswith(" 0") for line in ended), ended
    assert "--min-sharpness" in done.stdout and "--perf-analyzer" in done.stdout


@pytest.mark.fast
def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_triton", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"deepfake-triton {__version__}\n"), done.stderr
    wrong = subprocess.run(
        [sys.executable, "-m", "deepfake_triton", "juggle"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: deepfake-triton ")


@pytest.mark.fast
def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"deepfake-triton {__version__}\n"


@pytest.mark.fast
@pytest.mark.parametrize(
    "arguments", [[], ["juggle"], ["serve"], ["export"], ["serve", ".", "--http-port", "x"]]
)
def test_wrong_options_are_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


@pytest.mark.fast
def test_a_missing_part_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "deepfake_triton.export.pipeline", None)
    assert cli.main(["export", "--output", "somewhere"]) == 1
    assert "pip install 'deepfake-triton[export" in capsys.readouterr().err


@pytest.mark.compute
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


@pytest.mark.fast
def test_a_missing_client_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "deepfake_triton.client.detect.command", None)
    assert cli.main(["detect", "a.mp4"]) == 1
    assert "pip install 'deepfake-triton[client]'" in capsys.readouterr().err


@pytest.mark.fast
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command", ["repository list {folder}", "detect {folder}/a.mp4 --json --url 127.0.0.1:1"]
)
def test_closed_streams_end_no_command(tmp_path: Path, command: str, closed: str) -> None:
    (tmp_path / "a.mp4").touch()
    with_all = _in_shell(command.format(folder=tmp_path))
    done = _in_shell(f"{command.format(folder=tmp_path)} {closed}")
    assert done.returncode == with_all.returncode
    assert done.stderr == ("" if "2>" in closed else with_all.stderr)
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else with_all.stdout)
    assert "Traceback" not in done.stdout + done.stderr


def _in_shell(arguments: str) -> subprocess.CompletedProcess[str]:
    command = f"{COMMAND} {arguments}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=120)
