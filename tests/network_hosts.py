"""Hosts of a test: network namespaces with addresses of their own, and delay and loss between them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import network_fabric
import pytest

Result = TypeVar("Result")


def _why_no_hosts() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]:
        return f"{', '.join(missing)}: not installed (packages iproute2, util-linux)"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return tried.stderr.decode().strip() if tried.returncode else ""


@functools.cache
def why_no_hosts() -> str:
    """Why no hosts can be made here; empty where they can."""
    return _why_no_hosts()


needs_hosts = pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts() or "hosts can be made")


@dataclass(frozen=True)
class Host:
    """One address, in a namespace of its own."""

    address: str
    namespace: str

    def entering(self) -> list[str]:
        """The words before a command that is to run on this host."""
        return ["nsenter", f"--net={self.namespace}"]

    def do(self, action: Callable[[], Result]) -> Result:
        """Run an action of this process in a thread that goes to this host; sockets it makes stay there."""

        def enter() -> None:
            namespace = os.open(self.namespace, os.O_RDONLY)
            try:
                if network_fabric.libc.setns(namespace, network_fabric.NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), f"{self.namespace} cannot be entered")
            finally:
                os.close(namespace)

        def there() -> Result:
            enter()
            return action()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(there).result()

    def get(self, url: str, timeout_s: float = 10) -> str:
        """What HTTP answers, asked on this host. Raises OSError."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def read() -> str:
            with opener.open(url, timeout=timeout_s) as answer:
                text: str = answer.read().decode()
                return text

        return self.do(read)


class Network:
    """Hosts with addresses from 10.77.0.1 on, each linked with each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.hosts: list[Host] = []

    def host(self) -> Host:
        """A new one."""
        address = f"10.77.{len(self.hosts) // 250}.{len(self.hosts) % 250 + 1}"
        host = Host(address, f"/proc/{self.process.pid}/fd/{int(self._ask(address))}")
        self.hosts.append(host)
        return host

    def inhabitants(self) -> set[int]:
        """Processes of this machine that are on one of the hosts."""
        namespaces, found = {Path(host.namespace).stat().st_ino for host in self.hosts}, set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino in namespaces:
                    found.add(int(entry.name))
        return found - {self.process.pid}

    def packets(self) -> tuple[int, int]:
        """How many were passed on and lost so far."""
        passed, lost = self._ask("count").split()
        return int(passed), int(lost)

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the network ended with {self.process.wait(10)}"
        return answer


@contextmanager
def network(*, delay_ms: float, loss_percent: float, seed: int = 7) -> Iterator[Network]:
    """A network whose packets take a time each way, and of which a share is lost.

    Gone with the context, in which all processes on its hosts have to end.
    """
    program = str(Path(network_fabric.__file__))
    words = [sys.executable, program, str(delay_ms), str(loss_percent), str(seed)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        made = Network(process)
        try:
            yield made
            assert made.inhabitants() == set()
        finally:
            process.kill()
