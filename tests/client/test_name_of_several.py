"""One name with several addresses, such as a headless Service has: calls go round, and none is lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from network import free_port

from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None, reason="a hosts file of its own needs root"
    ),
]
NAME, ADDRESSES = "tritons.test", ("127.0.0.2", "127.0.0.3")
CALLS = 24
ASK = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from deepfake_triton.client import DeepfakeClient, FrameBatch

frames = FrameBatch(np.zeros((4, 90, 160, 3), np.uint8), np.arange(4.0), 4.0)
is_enough = threading.Event()


def ask(calls):
    answered = 0
    while answered < calls and not is_enough.is_set():
        assert client.faces(frames) == ()
        answered += 1
        print("answered", flush=True)
    return answered


with DeepfakeClient(sys.argv[1], timeout_s=60) as client, ThreadPoolExecutor(4) as pool:
    asking = [pool.submit(ask, int(sys.argv[2])) for _ in range(4)]
    if sys.stdin.read():
        is_enough.set()
    print(sum(each.result() for each in asking))
"""


class Asking:
    """A client in a process that finds NAME at ADDRESSES."""

    def __init__(self, folder: Path, url: str, calls: int) -> None:
        hosts = folder / "hosts"
        hosts.write_text("".join(f"{address} {NAME}\n" for address in ADDRESSES))
        mounted = 'mount --bind "$0" /etc/hosts && exec "$@"'
        self.process = subprocess.Popen(
            [
                *("unshare", "--mount", "sh", "-c", mounted, str(hosts)),
                *(sys.executable, "-c", ASK, url, str(calls)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, answers: int) -> None:
        """Until so many further calls were answered."""
        assert self.process.stdout is not None and self.process.stderr is not None
        for _ in range(answers):
            if not self.process.stdout.readline():
                raise AssertionError(self.process.stderr.read())

    def end(self, word: str = "") -> int:
        """How many calls were answered in all; with a `word`, no further ones begin."""
        out, errors = self.process.communicate(word, timeout=120)
        assert self.process.returncode == 0, errors
        return int(out.splitlines()[-1])


def options(repository: Path, address: str, port: int) -> ServerOptions:
    return replace(ServerOptions.on_free_ports(repository), host=address, grpc_port=port)


def answered_by(server: TritonServer, address: str) -> int:
    with urllib.request.urlopen(f"http://{address}:{server.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    (count,) = re.findall(r'nv_inference_request_success\{model="deepfake_detector",[^}]*\} (\d+)', text)
    return int(count)


@pytest.fixture
def pair(published_repository: Path) -> Iterator[list[TritonServer]]:
    """Two servers on one port of two addresses."""
    port = free_port()
    with ExitStack() as stack:
        yield [
            stack.enter_context(TritonServer(options(published_repository, address, port)))
            for address in ADDRESSES
        ]


def test_calls_to_a_name_go_round_its_addresses(pair: list[TritonServer], tmp_path: Path) -> None:
    assert Asking(tmp_path, f"{NAME}:{pair[0].grpc_port}", CALLS // 4).end() == CALLS
    counts = [answered_by(server, address) for server, address in zip(pair, ADDRESSES, strict=True)]
    assert sum(counts) == CALLS and min(counts) >= CALLS // 2 - 2, counts


def test_servers_behind_a_name_are_replaced_one_by_one_at_no_cost(
    pair: list[TritonServer], published_repository: Path, tmp_path: Path
) -> None:
    port = pair[0].grpc_port
    asking = Asking(tmp_path, f"{NAME}:{port}", 1_000_000)
    asking.wait_for(8)
    with ExitStack() as stack:
        for server, address in zip(pair, ADDRESSES, strict=True):
            server.close()
            asking.wait_for(8)
            stack.enter_context(TritonServer(options(published_repository, address, port)))
            asking.wait_for(8)
        assert asking.end("enough") >= 40
