"""Odd paths and hosts: each works, or is refused with the reason at once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from serve_command import FREE_PORTS, run_serve, serving
from tritonclient import grpc

from deepfake_triton.errors import PortInUse, ServerFailed
from deepfake_triton.serving.ports import ReservedEndpoints, resolve
from deepfake_triton.serving.server import ServerOptions

pytestmark = pytest.mark.triton

NO_IPV6 = not Path("/proc/net/if_inet6").exists()


def test_a_repository_of_any_name_beside_any_folders_is_served_and_nothing_runs(
    small_repository: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "my $(touch temporary) files"
    temporary.mkdir()
    repository = tmp_path / "my repo (1) $(touch ran) `touch ran` ;touch ran; 'é\n"
    shutil.copytree(small_repository, repository)
    for name in ("lost+found", ".git", "..data", "@eaDir"):
        (repository / name).mkdir()
    with serving(repository, environment={"TMPDIR": str(temporary)}) as served:
        with urllib.request.urlopen(f"{served.http}/v2/models/face_tracker/ready", timeout=30) as answer:
            assert answer.status == 200
        cwd = Path(f"/proc/{served.triton}/cwd").resolve()
        assert not any(
            (folder / name).exists()
            for folder in (cwd, tmp_path, repository)
            for name in ("ran", "temporary")
        )
    assert list(temporary.iterdir()) == []
    assert not list(repository.rglob("__pycache__")), "serving writes nothing there"


def test_what_was_compiled_before_is_not_read(small_repository: Path, tmp_path: Path) -> None:
    """Bytecode that says that it belongs to the source, and does something else."""
    repository = tmp_path / "repository"
    shutil.copytree(small_repository, repository)
    source = repository / "face_tracker" / "1" / "model.py"
    plant = """
import importlib._bootstrap_external as external, importlib.util, pathlib, sys
source = pathlib.Path(sys.argv[1])
code = compile("raise SystemExit('planted')", str(source), "exec")
found = source.stat()
data = external._code_to_timestamp_pyc(code, int(found.st_mtime), found.st_size)
cached = pathlib.Path(importlib.util.cache_from_source(str(source)))
cached.parent.mkdir()
cached.write_bytes(data)
"""
    subprocess.run(["python3", "-c", plant, str(source)], check=True)
    planted = {path: path.read_bytes() for path in repository.rglob("*.pyc")}
    assert planted
    with serving(repository):
        pass  # it would not have become ready
    assert {path: path.read_bytes() for path in repository.rglob("*.pyc")} == planted


@pytest.mark.parametrize(
    "host", ["localhost", pytest.param("[::1]", marks=pytest.mark.skipif(NO_IPV6, reason="no IPv6 here"))]
)
def test_hosts_by_name_and_by_ipv6_answer_on_all_three_ports(small_repository: Path, host: str) -> None:
    with serving(small_repository, "--host", host) as served:
        assert served.grpc.startswith(f"{host}:")
        for url in (f"{served.http}/v2/health/ready", served.metrics):
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert answer.status == 200
        with grpc.InferenceServerClient(served.grpc) as connection:
            assert connection.is_server_ready()


def test_hosts_that_cannot_be_listened_on_are_refused_at_once(small_repository: Path) -> None:
    for host, says in (
        ("no.such.host.invalid", "cannot be resolved"),
        ("203.0.113.7", "Cannot assign requested address); name an address of this host"),
        ("fe80::1%eth0", "no address with a zone"),
        ("", "cannot be resolved"),
    ):
        status, lines = run_serve(str(small_repository), *FREE_PORTS, "--host", host)
        assert status == 1 and len(lines) == 1 and says in lines[0], lines


def test_which_address_a_name_stands_for() -> None:
    for host, ip, for_grpc, for_http, client in (
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1:7"),
        ("localhost", "127.0.0.1", "127.0.0.1", "127.0.0.1", "localhost:7"),
        ("::1", "::1", "[::1]", "ipv6:::1", "[::1]:7"),
        ("[::1]", "::1", "[::1]", "ipv6:::1", "[::1]:7"),
        ("::ffff:127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "[::ffff:127.0.0.1]:7"),
    ):
        address = resolve(host, "--host")
        assert (str(address.ip), address.for_grpc, address.for_http, address.with_port(7)) == (
            ip,
            for_grpc,
            for_http,
            client,
        )
        assert address.is_loopback
    assert resolve("0.0.0.0", "--host").to_connect == "127.0.0.1"
    assert resolve("::", "--host").to_connect == "::1"
    with pytest.raises(ServerFailed, match=r"--http-host nowhere\.invalid"):
        resolve("nowhere.invalid", "--http-host")


def test_ports_stay_held_while_nobody_listens(tmp_path: Path) -> None:
    options = ServerOptions.on_free_ports(tmp_path)
    with ReservedEndpoints(options) as endpoints:
        port = endpoints.grpc.port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        for _ in range(3):  # Triton binds and listens beside them, again and again
            with socket.create_server(("127.0.0.1", port)):
                with pytest.raises(PortInUse, match="another port"):
                    ReservedEndpoints(ServerOptions(tmp_path, grpc_port=port, http_port=0, metrics_port=0))
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
    socket.create_server(("127.0.0.1", port)).close()
