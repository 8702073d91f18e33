"""Envoy's configuration of every set of values, loaded by Envoy itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from deploy_tools import TOOLS, each_values, needs_helm, of_kind, rendered, run_tool
from network import certificates_in

ENVOY = TOOLS / "bin" / "envoy"
pytestmark = [
    pytest.mark.fast,
    needs_helm,
    pytest.mark.skipif(not ENVOY.exists(), reason=".venv-deploy is missing: make test builds it"),
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates_in(tmp_path_factory.mktemp("certificates"))


@each_values
def test_envoy_takes_its_configuration(values: Path, certificates: Path, tmp_path: Path) -> None:
    configs = [one["data"] for one in of_kind(rendered(values), "ConfigMap") if "envoy.yaml" in one["data"]]
    assert bool(configs) is (values.stem not in {"baked-in", "triton-only"})
    for config in configs:
        text = config["envoy.yaml"]
        for name, file in (("tls.crt", "server.pem"), ("tls.key", "server.key"), ("ca.crt", "ca.pem")):
            text = re.sub(rf"/tls/[a-z-]+/{re.escape(name)}", str(certificates / file), text)
        (tmp_path / "envoy.yaml").write_text(text)
        command = [str(ENVOY), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
        done = run_tool(*command)
        assert done.returncode == 0 and "OK" in done.stdout, done.stderr
        assert "Deprecated" not in done.stderr


@each_values
def test_only_what_no_triton_has_begun_is_retried(values: Path) -> None:
    """A retry of anything else could judge a clip twice, or follow one that killed its Triton to the next."""
    for one in of_kind(rendered(values), "ConfigMap"):
        if "envoy.yaml" in one["data"]:
            config = yaml.safe_load(one["data"]["envoy.yaml"])
            text = str(config["static_resources"]["listeners"])
            assert re.findall(r"'retry_on': '([^']*)'", text) == ["connect-failure,refused-stream"]
            assert "'timeout': '0s'" in text, "Envoy's own 15 s would cut off a clip"
            assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
