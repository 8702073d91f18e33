"""The command lines of chart, Compose file and KServe's runtime, read by the commands themselves."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import yaml
from deploy_tools import each_values, named, needs_helm, of_kind, pod_spec, rendered
from network import certificates_in
from paths import ROOT

from deepfake_triton.cli import SUBCOMMANDS
from deepfake_triton.commands.web_options import settings_from
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.options import ServerOptions
from deepfake_triton.serving.server import CLOSE_TIMEOUT_S

pytestmark = pytest.mark.fast
_FILE = re.compile(r"(?<==)/(?:tls|signature|webhooks|c2pa|keys|run/secrets)/.+")
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its key, and a text, for whatever file a command names."""
    folder = certificates_in(tmp_path_factory.mktemp("certificates"))
    (folder / "text").write_text("a text of more than 24 characters")
    return folder


def parsed(arguments: list[str], certificates: Path) -> argparse.Namespace:
    """Read the arguments as `deepfake-triton` does, with files that exist in place of those in a pod."""

    def existing(found: re.Match[str]) -> str:
        name = Path(found[0]).name
        files = {"tls.crt": "server.pem", "tls.key": "server.key", "ca.crt": "ca.pem"}
        return str(certificates / files.get(name, "text"))

    command, *options = arguments
    parser = argparse.ArgumentParser(exit_on_error=False)
    SUBCOMMANDS[command].configure(parser)
    return parser.parse_args([_FILE.sub(existing, option) for option in options])


def check_server(arguments: list[str], certificates: Path) -> argparse.Namespace:
    args = parsed(arguments, certificates)
    assert arguments[0] == "serve" and args.model_control == "none" and not args.http_inference
    options = ServerOptions(
        args.repository, tls_certificate=args.tls_certificate, tls_key=args.tls_key,
        tls_client_ca=args.tls_client_ca, host=args.host, http_host=args.http_host,
    )  # fmt: skip
    assert (args.http_host or options.plain_host) in {"0.0.0.0", "::"}, "kubelet could not probe it"
    assert (args.metrics_host or options.plain_host) in {"0.0.0.0", "::"}, "Prometheus could not read it"
    assert (args.grpc_port, args.http_port, args.metrics_port) == (8001, 8000, 8002)
    return args


def check_gateway(arguments: list[str], certificates: Path) -> GatewaySettings:
    args = parsed(arguments, certificates)
    settings = settings_from(args)
    assert arguments[0] == "web" and (settings.port, settings.grpc_port) == (8080, 8081)
    return settings


@needs_helm
@each_values
def test_serve_takes_the_chart_s_options(values: Path, certificates: Path) -> None:
    server = named(rendered(values), "Deployment", "-server")
    (container,) = pod_spec(server)["containers"]
    args = check_server(container["args"], certificates)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(args.repository) in mounted or values.stem == "baked-in"
    assert args.engine_cache is None or str(args.engine_cache) in mounted
    assert bool(args.engine_cache) is (values.stem in {"gpu-hpa", "mig-keda"})
    assert bool(args.tls_certificate) is (values.stem == "mutual-tls")
    assert bool(args.require_signature) is (values.stem == "object-store")


@needs_helm
@each_values
def test_web_takes_the_chart_s_options(values: Path, certificates: Path) -> None:
    manifests = rendered(values)
    gateways = [d for d in of_kind(manifests, "Deployment") if d["metadata"]["name"].endswith("-gateway")]
    assert bool(gateways) is (values.stem != "triton-only")
    services = {f"{s['metadata']['name']}.video.svc:8001" for s in of_kind(manifests, "Service")}
    routed = {name for route in of_kind(manifests, "HTTPRoute") for name in route["spec"]["hostnames"]}
    for gateway in gateways:
        (container,) = pod_spec(gateway)["containers"]
        settings = check_gateway(container["args"], certificates)
        assert set(settings.urls) <= services
        assert {gateway["metadata"]["name"], *routed} <= set(settings.allowed_hosts)
        assert settings.connection is not None
        assert settings.connection.encrypts is (values.stem == "mutual-tls")
        assert (settings.api_keys is None) is (values.stem == "baked-in")
        assert settings.limits.max_queued == (0 if values.stem == "shared-folder" else 100)


def test_serve_takes_kserve_s_options(certificates: Path) -> None:
    runtime = yaml.safe_load((DEPLOY / "kserve" / "serving-runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    check_server(container["args"], certificates)


def test_both_commands_take_the_compose_file_s_options(certificates: Path) -> None:
    services = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]
    check_server(services["server"]["command"], certificates)
    settings = check_gateway(services["gateway"]["command"], certificates)
    assert settings.urls == ("envoy:8001",) and settings.allowed_hosts == ("gateway",)
    needed_s = {"server": CLOSE_TIMEOUT_S, "gateway": settings.grace_s + 2}
    for name, seconds in needed_s.items():
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= seconds
