"""The Dockerfile: checked by hadolint, its images built and started as a container runtime would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest
from buildah import Builder, builder, missing_tool, run
from container import Container, Image, container
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT
from serve_command import wait_until
from triton_folder import container_layout

from deepfake_triton.client import DeepfakeClient
from deepfake_triton.serving.server import ServerOptions, TritonServer

LOCKS = sorted((ROOT / "deploy" / "images").glob("requirements-*.txt"))
EXTRAS = {"cpu": ("server", "openvino"), "gateway": ("gateway", "provenance"), "gpu": ()}
CLIENT = Path(__file__).resolve().parents[1] / "container_client.py"
SITE = "opt/deepfake-triton/lib/python3.11/site-packages"
needs_buildah = pytest.mark.skipif(missing_tool() is not None, reason=str(missing_tool()))


@pytest.mark.fast
def test_hadolint_finds_nothing() -> None:
    assert run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile") == ""


@pytest.mark.fast
def test_labels_name_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    labels = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert labels == [version] * 3


def pins(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, version = re.match(r"([A-Za-z0-9._-]+)==(\S+)", line).groups()  # type: ignore[union-attr]
        found[canonicalize_name(name)] = version
    return found


@pytest.mark.fast
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_images_hold_the_versions_that_are_tested_each_with_its_hash(lock: Path) -> None:
    tested = pins(ROOT / "constraints.txt")
    locked = pins(lock)
    assert {name: tested[name] for name in locked if name in tested} == {
        name: version for name, version in locked.items() if name in tested
    }, "run deploy/images/lock.py"
    if lock.stem != "requirements-sbom":
        assert not locked.keys() - tested.keys() and not locked.keys() & {"torch", "onnx", "pip"}
    assert all(re.search(r"( --hash=sha256:[0-9a-f]{64})+$", line) for line in lock.read_text().splitlines())


@pytest.mark.fast
@pytest.mark.parametrize("target", EXTRAS)
def test_locks_hold_what_the_package_asks_for(target: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS[target]:
        wanted += project["optional-dependencies"][extra]
    locked = pins(ROOT / "deploy" / "images" / f"requirements-{target}.txt")
    for requirement in map(Requirement, wanted):
        if requirement.name != "deepfake-triton":
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    with builder(tmp_path_factory.mktemp("images")) as made:
        yield made


def until_it_says(server: Container, words: str) -> None:
    def said() -> bool:
        assert server.launcher.poll() is None, server.log.read_text()
        return words in server.log.read_text()

    assert wait_until(said, 120), server.log.read_text()


def assert_is_confined(server: Container) -> None:
    status = Path(f"/proc/{server.pid}/status").read_text()
    for line in ("Uid:\t1000\t1000\t1000\t1000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    mounts = [line.split() for line in Path(f"/proc/{server.pid}/mountinfo").read_text().splitlines()]
    writable = {words[4] for words in mounts if "rw" in words[5].split(",")}
    devices = {"/proc", "/dev", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"}
    assert writable - devices == {"/tmp", "/dev/shm"}


def assert_is_lean(image: Image) -> None:
    installed = {path.name.partition("-")[0].lower() for path in (image.root / SITE).iterdir()}
    assert "deepfake_triton" in installed and not installed & {"torch", "onnx", "pip", "setuptools"}
    materials = json.loads((image.root / "usr/share/deepfake-triton/sbom.cdx.json").read_text())
    assert materials["bomFormat"] == "CycloneDX"
    listed = {canonicalize_name(entry["name"]) for entry in materials["components"]}
    assert {"numpy", "opencv-python-headless"} <= listed


def ask(through: Container, url: str, key: str, body: Path | None = None) -> tuple[int, str]:
    """Status and body of an answer over HTTP, asked for from outside."""
    code = (
        "import sys, urllib.error, urllib.request as r\n"
        "url, key, body = sys.argv[1:]\n"
        "headers = {'Authorization': 'Bearer ' + key, 'Content-Type': 'video/mp4'} if key else {}\n"
        "request = r.Request(url, open(body, 'rb').read() if body else None, headers)\n"
        "try:\n    answer = r.urlopen(request, timeout=120)\n"
        "except urllib.error.HTTPError as error:\n    answer = error\n"
        "print(answer.status)\nprint(answer.read().decode())\n"
    )
    arguments = [url, key, str(body or "")]
    status, _, text = run(*through.inside_its_network(sys.executable, "-c", code, *arguments)).partition("\n")
    return int(status), text


@pytest.mark.slow
@needs_buildah
def test_cpu_and_gateway_judge_a_video_and_lose_nothing_at_their_end(
    images: Builder, default_repository: Path, clip_path: Path, tmp_path: Path
) -> None:
    with (
        TritonServer(ServerOptions.on_free_ports(default_repository)) as here,
        DeepfakeClient(here.url) as to,
    ):
        expected = to.detect(clip_path)
    cpu, gateway = images.build("cpu"), images.build("gateway")
    for image in (cpu, gateway):
        assert image.entrypoint == ("deepfake-triton",) and image.stop_signal == "SIGTERM"
        assert_is_lean(image)
    assert (
        not (gateway.root / SITE / "onnxruntime").exists() and not (gateway.root / SITE / "pytriton").exists()
    )
    with container(
        cpu, tmp_path / "noexec.log", mounts={"/models": default_repository}, tmp_exec=False
    ) as server:
        assert server.launcher.wait(60) == 1 and "/tmp is mounted noexec" in server.log.read_text()
    with container(cpu, tmp_path / "cpu.log", mounts={"/models": default_repository}) as server:
        until_it_says(server, "  trust ")
        assert_is_confined(server)
        server.check_health(cpu)
        judged_over_http(server, gateway, clip_path, tmp_path, expected.fake_probability)
        lost_nothing_at_its_end(server, clip_path, expected.fake_probability)
        assert server.launcher.wait(60) == 0 and server.log.read_text().endswith("stopped\n")


def judged_over_http(
    server: Container, image: Image, clip: Path, folder: Path, expected: float | None
) -> None:
    with container(image, folder / "closed.log", network_of=server) as gateway:
        assert gateway.launcher.wait(60) > 0  # its own arguments name files that are not mounted
        assert (
            "/keys/api-keys" in gateway.log.read_text() or "/certificates/ca.crt" in gateway.log.read_text()
        )
    keys = folder / "keys"
    keys.mkdir()
    command = Path(sys.executable).with_name("deepfake-triton")
    key = run(command, "web", "--api-keys", keys / "api-keys", "--new-api-key", "test").strip()
    (keys / "api-keys").chmod(0o644)  # another user's, in the container
    arguments = ["web", "--host", "0.0.0.0", "--url", "127.0.0.1:8001", "--api-keys", "/keys/api-keys"]
    with container(
        image,
        folder / "gateway.log",
        arguments=arguments,
        mounts={"/keys": keys},
        network_of=server,
        tmp_exec=False,
    ) as gateway:
        until_it_says(gateway, "  kept ")
        assert_is_confined(gateway)
        assert wait_until(lambda: ask(server, "http://127.0.0.1:8080/readyz", "")[0] == 200)
        gateway.check_health(image)
        status, _ = ask(server, "http://127.0.0.1:8080/v1/detect", "dft_wrong", clip)
        assert status == 401
        status, answer = ask(server, "http://127.0.0.1:8080/v1/detect", key, clip)
        assert status == 200, answer
        assert json.loads(answer)["fake_probability"] == pytest.approx(expected, abs=1e-3)
        gateway.stop()
        assert gateway.launcher.wait(60) == 0, gateway.log.read_text()


def lost_nothing_at_its_end(server: Container, clip: Path, expected: float | None) -> None:
    command = [sys.executable, str(CLIENT), "127.0.0.1:8001", "http://127.0.0.1:8002/metrics", str(clip)]
    client = subprocess.Popen(server.inside_its_network(*command), stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        verdict, accepted = (json.loads(client.stdout.readline()) for _ in range(2))
        server.stop()
        outcomes = json.loads(client.stdout.readline())["outcomes"]
    finally:
        client.kill()
        client.wait(60)
    assert verdict["fake_probability"] == pytest.approx(expected, abs=1e-3)
    assert accepted["answered"] < accepted["accepted"], "it was stopped with work in hand"
    assert outcomes == ["answered"] * accepted["accepted"]


@pytest.mark.slow
@needs_buildah
def test_gpu_starts_the_triton_of_its_base(images: Builder, small_repository: Path, tmp_path: Path) -> None:
    """On a base without a GPU and NVIDIA's backends in C++: a Triton is where NVIDIA's base has it."""
    repository = tmp_path / "repository"
    shutil.copytree(small_repository, repository)
    repository.chmod(0o755)
    image = images.build("gpu")
    assert image.command[-4:] == ("--triton", "/opt/tritonserver", "--engine-cache", "/engines")
    volume = (image.root / "engines").stat()
    assert (volume.st_uid, volume.st_gid, volume.st_mode & 0o777) == (1000, 1000, 0o700)
    assert_is_lean(image)
    assert not (image.root / SITE / "onnxruntime").exists() and not (image.root / SITE / "pytriton").exists()
    with container(image, tmp_path / "without.log", mounts={"/models": repository}) as server:
        assert server.launcher.wait(60) == 1
        assert "/opt/tritonserver: no such folder; expected one with bin/trit" in server.log.read_text()
    mounts = {
        "/models": repository,
        "/opt/tritonserver": container_layout(tmp_path / "tritonserver", copies=True),
    }
    with container(image, tmp_path / "gpu.log", mounts=mounts) as server:
        until_it_says(server, "  trust    Triton 2.51.0 ")
        assert_is_confined(server)
        server.check_health(image)
        server.stop()
        assert server.launcher.wait(60) == 0 and server.log.read_text().endswith("stopped\n")
