"""The Compose file and the configurations beside it. It was never started: no Docker here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from deploy_tools import TOOLS, Manifest, needs_helm, of_kind, render, run_tool
from paths import ROOT

pytestmark = pytest.mark.fast
FOLDER = ROOT / "deploy"
MADE_BY_THE_USER = {"models", "secrets", "spool", "prometheus"}


def compose() -> Manifest:
    found: Manifest = yaml.safe_load((FOLDER / "docker-compose.yaml").read_text())
    return found


def test_every_service_is_confined_and_pinned() -> None:
    for name, service in compose()["services"].items():
        assert service["user"] == "1000:1000" and service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged") and "network_mode" not in service
        assert re.fullmatch(r".+:(\$\{VERSION:-\d+\.\d+\.\d+\}|v\d+\.\d+\.\d+)", service["image"])
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_triton_is_on_a_network_without_a_way_out() -> None:
    described = compose()
    assert described["networks"]["triton"] == {"internal": True}
    assert described["services"]["server"]["networks"] == ["triton"]
    assert "ports" not in described["services"]["server"]


def test_what_services_name_is_there() -> None:
    described = compose()
    for service in described["services"].values():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
            assert source.startswith("./"), "a named volume belongs to root, and no service runs as root"
            is_user_s = Path(source).parts[0] in MADE_BY_THE_USER
            assert is_user_s or (FOLDER / source).is_file(), source
        assert set(service.get("secrets", ())) <= set(described["secrets"])
        assert set(service.get("depends_on", ())) <= set(described["services"])
        assert set(service["networks"]) <= set(described["networks"])


@needs_helm
def test_envoy_is_configured_as_by_the_chart() -> None:
    config = of_kind(render(release="e", namespace="n"), "ConfigMap")[0]["data"]["envoy.yaml"]
    expected = config.replace("e-deepfake-triton-server-headless.n.svc", "server")
    assert yaml.safe_load((FOLDER / "compose" / "envoy.yaml").read_text()) == yaml.safe_load(expected)


@pytest.mark.skipif(
    not (TOOLS / "bin" / "envoy").exists(), reason=".venv-deploy is missing: make test builds it"
)
def test_envoy_takes_it() -> None:
    command = [
        str(TOOLS / "bin" / "envoy"),
        "--mode",
        "validate",
        "-c",
        str(FOLDER / "compose" / "envoy.yaml"),
    ]
    done = run_tool(*command)
    assert done.returncode == 0 and "OK" in done.stdout, done.stderr
    assert "Deprecated" not in done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: make system-deps")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    text = (FOLDER / "compose" / "prometheus.yaml").read_text()
    (tmp_path / "metrics").write_text("dft_key")
    (tmp_path / "prometheus.yaml").write_text(text.replace("/run/secrets", str(tmp_path)))
    shutil.copy(FOLDER / "helm" / "deepfake-triton" / "files" / "rules.yaml", tmp_path)
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")]
    done = run_tool(*command)
    assert done.returncode == 0 and "1 rule files found" in done.stdout, done.stdout + done.stderr
