"""Console and Python blocks of README and docs marked `<!-- test -->` are run, page by page, in one folder.

It holds what the pages name: `interview.mp4` and `videos/` (the demo's clip), `repository` (the shipped
weights) and `.venv/bin/deepfake-triton`. The server of the repository and a gateway in front of it have free
ports, which stand in for 8000, 8001, 8002 and 8080.

`page_blocks.is_like` compares what a block shows with stdout and stderr. A command may fail only if the
next one is `echo $?`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_blocks import commands_of, is_like, programs_of
from paths import ROOT
from running_gateway import running_gateway

from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

_END = "--- end of output:"
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}


def _on_ports_of(server: TritonServer, gateway: str, line: str) -> str:
    """A command or program with the ports of both in place of the defaults, unsaid ones included."""
    addresses = {
        "8000": f"127.0.0.1:{server.http_port}",
        "8001": server.url,
        "8002": f"127.0.0.1:{server.metrics_port}",
        "8080": gateway,
    }
    line = re.sub(r"(?:localhost|127\.0\.0\.1):(800[012]|8080)", lambda found: addresses[found[1]], line)
    return re.sub(r"deepfake-triton detect(?!.*--url)", rf"\g<0> --url {server.url}", line)


@pytest.fixture(scope="module")
def gateway(default_server: TritonServer) -> Iterator[str]:
    """The address, host:port, of a gateway in front of the server."""
    settings = GatewaySettings(urls=(default_server.url,), port=0, grpc_port=0)
    with running_gateway(settings) as listening:
        yield listening.url.removeprefix("http://")


@pytest.fixture(scope="module")
def folder(default_repository: Path, clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages name, in one folder."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "repository").symlink_to(default_repository)
    (folder / "videos").mkdir()
    for name in ("interview.mp4", "videos/first.mp4", "videos/second.mp4"):
        shutil.copy2(clip_path, folder / name)
    command = folder / ".venv/bin/deepfake-triton"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m deepfake_triton.cli "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if commands_of(text)])
def test_the_marked_commands_give_what_is_shown(
    page: str, folder: Path, default_server: TritonServer, gateway: str
) -> None:
    commands = commands_of(TEXTS[page])
    lines = [_on_ports_of(default_server, gateway, command.line) for command in commands]
    # An output may lack its last line's end.
    script = "\n".join(f'{line}\nstatus=$?; echo; echo "{_END} $status"; (exit $status)' for line in lines)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], check=False, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300, env={**os.environ, "PATH": path},
    )  # fmt: skip
    outputs = re.findall(rf"(.*?)^{_END} (\d+)\n", done.stdout, re.DOTALL | re.MULTILINE)
    assert len(outputs) == len(commands), done.stdout
    for index, (command, (output, status)) in enumerate(zip(commands, outputs, strict=True)):
        following = commands[index + 1].line if index + 1 < len(commands) else ""
        assert status == "0" or following == "echo $?", f"{command.line}: {output}"
        if command.shown.strip():
            assert is_like(command.shown, output), output


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if programs_of(text)])
def test_the_marked_programs_run(page: str, folder: Path, default_server: TritonServer, gateway: str) -> None:
    for program in programs_of(TEXTS[page]):
        command = [sys.executable, "-c", _on_ports_of(default_server, gateway, program)]
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("time 13 ms", "time  950 ms", True),
        ("FAKE 0.19", "FAKE 0.22", True),
        ("FAKE 0.19", "FAKE 0.30", False),
        ("seen in 20 of 20 frames", "seen in 18 of 20 frames", True),
        ("seen in 20 of 20 frames", "seen in 10 of 20 frames", False),
        ("a … d", "a b\nc d", True),
        ("a … d", "a b c", False),
        ("REAL", "FAKE", False),
        ("one line", "one line\nand another", False),
    ],
)
def test_what_counts_as_like(shown: str, output: str, expected: bool) -> None:
    assert is_like(shown, output) == expected
