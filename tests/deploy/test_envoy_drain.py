"""An Envoy of the chart that is replaced under load: preStop, SIGTERM, and no request is lost."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from deploy_tools import TOOLS, envoy_config, needs_helm, of_kind, pod_spec, render_with
from network import free_port

from deepfake_triton.client import AsyncDeepfakeClient, RetryPolicy, Transport
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.serving.server import TritonServer

ENVOY = TOOLS / "bin" / "envoy"
DRAIN_S = 8
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    needs_helm,
    pytest.mark.skipif(not ENVOY.exists(), reason=".venv-deploy is missing: make test builds it"),
]


@contextmanager
def envoy(folder: Path, triton: str, ports: tuple[int, int, int]) -> Iterator[subprocess.Popen[bytes]]:
    """The chart's Envoy at ports of this host: gRPC, which several may share, statistics and admin."""
    folder.mkdir()
    (folder / "envoy.yaml").write_text(envoy_config(triton, ports))
    command = [str(ENVOY), "-c", str(folder / "envoy.yaml"), "--log-level", "off", "--disable-hot-restart"]
    with subprocess.Popen([*command, "--drain-time-s", str(DRAIN_S)]) as process:
        try:
            deadline = time.monotonic() + 20
            while "health_flags::healthy" not in clusters(ports[2]):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()


def clusters(admin: int) -> str:
    """What Envoy says of its Tritons; empty while it starts."""
    try:
        text = httpx.get(f"http://127.0.0.1:{admin}/clusters", trust_env=False).text
    except httpx.HTTPError:
        return ""
    return "\n".join(line for line in text.splitlines() if line.startswith("triton::"))


def pre_stop(admin: int) -> list[str]:
    """The chart's own command before SIGTERM, for a drain of DRAIN_S."""
    manifests = render_with({"envoy.drainSeconds": DRAIN_S})
    (deployment,) = [d for d in of_kind(manifests, "Deployment") if d["metadata"]["name"].endswith("-envoy")]
    (container,) = pod_spec(deployment)["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert "9901" in command[-1] and f"sleep {DRAIN_S}" in command[-1]
    return [word.replace("9901", str(admin)) for word in command]


def test_an_envoy_is_replaced_without_a_failed_request(
    default_server: TritonServer, clip_path: Path, tmp_path: Path
) -> None:
    """Both listen at one port, between which the kernel spreads new connections, as a Service does."""
    grpc = free_port()
    old_ports, new_ports = ((grpc, free_port(), free_port()) for _ in range(2))
    triton = default_server.process.pid
    failed: list[DeepfakeError] = []
    answered_after_s: list[float] = []

    async def replace(old: subprocess.Popen[bytes]) -> None:
        await asyncio.sleep(2)
        hook = await asyncio.create_subprocess_exec(*pre_stop(old_ports[2]))
        assert await hook.wait() == 0
        old.terminate()
        await asyncio.to_thread(old.wait, 20)

    async def ask(client: AsyncDeepfakeClient, began_s: float, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await client.detect(clip_path)
                answered_after_s.append(time.monotonic() - began_s)
            except DeepfakeError as error:
                failed.append(error)

    async def load(old: subprocess.Popen[bytes], new_folder: Path) -> None:
        stopping, began_s = asyncio.Event(), time.monotonic()
        once = RetryPolicy(attempts=1)
        async with AsyncDeepfakeClient(
            [f"127.0.0.1:{grpc}"], timeout_s=30, retry=once, transport=Transport.GRPC
        ) as client:
            asking = [asyncio.create_task(ask(client, began_s, stopping)) for _ in range(2)]
            await asyncio.sleep(1)  # the connection is to the old one
            with envoy(new_folder, default_server.url, new_ports):
                await replace(old)
                await asyncio.sleep(3)
                stopping.set()
                await asyncio.gather(*asking)

    with envoy(tmp_path / "old", default_server.url, old_ports) as old:
        asyncio.run(load(old, tmp_path / "new"))
    assert failed == []
    assert max(answered_after_s) > 2 + DRAIN_S + 1, "none was answered after the old one's end"
    assert default_server.process.pid == triton and default_server.process.poll() is None
