"""A gateway as a process of its own: started on free ports, looked at from outside, ended with its test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import asyncio, logging, sys
from pathlib import Path
from deepfake_triton.gateway.server import serve
from deepfake_triton.gateway.settings import GatewaySettings
logging.basicConfig(level=logging.DEBUG)
url, spool, port, grpc_port, trace_endpoint, trace_rate = sys.argv[1:]
settings = GatewaySettings(
    urls=(url,), port=int(port), grpc_port=int(grpc_port), spool=Path(spool),
    trace_endpoint=trace_endpoint or None, trace_rate=int(trace_rate),
)
asyncio.run(serve(settings, lambda listening: print(listening.url, listening.grpc, flush=True)))
"""


@dataclass(frozen=True)
class GatewayProcess:
    """A gateway that listens; `log` is what it writes, at level DEBUG."""

    process: subprocess.Popen[str]
    url: str
    grpc: str
    folder: Path
    log: Path

    @property
    def ports(self) -> tuple[int, int]:
        """Ports of REST and of gRPC."""
        rest, grpc = (int(address.rpartition(":")[2]) for address in (self.url, self.grpc))
        return rest, grpc


@contextmanager
def gateway_process(
    triton_url: str,
    folder: Path,
    *,
    ports: tuple[int, int] = (0, 0),
    trace_endpoint: str = "",
    trace_rate: int = 1,
) -> Iterator[GatewayProcess]:
    """Run a gateway whose spool and temporary files are in `folder`, perhaps after an earlier one."""
    spool, temporary, log = folder / "spool", folder / "tmp", folder / "log"
    temporary.mkdir(exist_ok=True)
    with log.open("a") as written:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _PROGRAM,
                triton_url,
                str(spool),
                *map(str, [*ports, trace_endpoint, trace_rate]),
            ],
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), log.read_text()
        url, grpc = line.split()
        yield GatewayProcess(process, url, grpc, folder, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=120)
