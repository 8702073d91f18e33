"""The chart's own commands on what its pods give them: a read-only root, no capabilities, few folders."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from deploy_tools import VALUES, Manifest, named, needs_helm, pod_spec, rendered
from network import free_port
from paths import ROOT

DEFAULTS = next(path for path in VALUES if path.stem == "defaults")
pytestmark = [
    pytest.mark.slow,
    needs_helm,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"),
        reason="mount namespaces need root, unshare and setpriv",
    ),
]
CONFINE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
kept=0
for path in "${KEEP[@]}"; do mkdir /mnt/$kept; mount --bind "$path" /mnt/$kept; kept=$((kept + 1)); done
for path in "${WRITABLE[@]}"; do mkdir -p "$path"; mount -t tmpfs -o mode=1777 tmpfs "$path"; done
kept=0
for path in "${KEEP[@]}"; do
  [ -e "$path" ] || mkdir -p "$path"
  mount --bind /mnt/$kept "$path"
  mount -o remount,ro,bind "$path"
  kept=$((kept + 1))
done
mount -o remount,ro /mnt
mount -o remount,ro,bind /
if touch /etc/written 2>/dev/null; then echo "the root can be written to"; exit 9; fi
cd /
exec setpriv --no-new-privs --bounding-set -all --inh-caps -all env -i PATH=/usr/bin:/bin "$@"
"""


def container(ending: str) -> Manifest:
    (found,) = pod_spec(named(rendered(DEFAULTS), "Deployment", ending))["containers"]
    made: Manifest = found
    return made


def with_ports(arguments: list[str], ports: dict[str, int]) -> list[str]:
    return [
        f"{option}={ports.get(option.lstrip('-'), value)}" if equals else option
        for option, equals, value in (argument.partition("=") for argument in arguments)
    ]


@contextmanager
def confined(
    pod: Manifest, arguments: list[str], keep: list[Path], *, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with a container's environment and writable mounts; end it by SIGTERM, with status 0."""
    writable = [mount["mountPath"] for mount in pod["volumeMounts"] if not mount.get("readOnly")]
    lists = f"KEEP=({' '.join(repr(str(path)) for path in keep)})\nWRITABLE=({' '.join(writable)})\n"
    variables = [f"{variable['name']}={variable['value']}" for variable in pod["env"]]
    variables += [f"PYTHONPATH={ROOT}/src", "PYTHONDONTWRITEBYTECODE=1"]
    command = ["unshare", "--mount", "bash", "-c", lists + CONFINE, "confine", *variables]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", "deepfake_triton", *arguments], stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + 120
            while not re.search(r"^ready", log.read_text(), re.MULTILINE):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield process
            process.terminate()
            assert process.wait(60) == 0, log.read_text()
        finally:
            process.kill()
            process.wait(10)


def test_both_run_on_a_read_only_root_without_capabilities(
    default_repository: Path, clip_path: Path, tmp_path: Path
) -> None:
    grpc, http, metrics, page, upload = (free_port() for _ in range(5))
    keep = [ROOT, Path(sys.prefix), Path(sys.base_prefix), default_repository]
    server, gateway = container("-server"), container("-gateway")
    serve = with_ports(server["args"], {"grpc-port": grpc, "http-port": http, "metrics-port": metrics})
    serve[1] = str(default_repository)
    web = with_ports(gateway["args"], {"port": page, "grpc-port": upload})
    web = [a for a in web if not a.startswith(("--url=", "--api-keys="))]
    web += [f"--url=localhost:{grpc}", "--no-api-keys"]
    probe = f"http://127.0.0.1:{http}{server['readinessProbe']['httpGet']['path']}"
    with (
        confined(server, serve, keep, log=tmp_path / "serve.log"),
        confined(gateway, web, keep, log=tmp_path / "web.log"),
        httpx.Client(trust_env=False, timeout=60) as client,
    ):
        assert client.get(probe).status_code == 200
        for path in (gateway[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")):
            assert client.get(f"http://127.0.0.1:{page}{path}").status_code == 200
        with clip_path.open("rb") as clip:
            answer = client.post(f"http://127.0.0.1:{page}/v1/detect", files={"file": clip})
        assert answer.json()["verdict"] == "REAL"
    assert "warning" not in (tmp_path / "serve.log").read_text()
