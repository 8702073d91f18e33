"""What holds for every object that the chart renders, whatever the values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from deploy_tools import (
    Manifest,
    containers,
    each_values,
    named,
    needs_helm,
    of_kind,
    pod_spec,
    render,
    render_with,
    rendered,
)

from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import CLOSE_TIMEOUT_S

pytestmark = [pytest.mark.fast, needs_helm]
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
INSTANCE = "app.kubernetes.io/instance"


def identities(manifests: list[Manifest]) -> set[tuple[str, str]]:
    return {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}


@each_values
def test_pods_run_without_any_privilege(values: Path) -> None:
    for deployment in of_kind(rendered(values), "Deployment"):
        spec = pod_spec(deployment)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in containers(deployment):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False and security["privileged"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert "readOnly" not in mounts["/tmp"], "Triton's Python backend writes into /tmp"


@each_values
def test_accounts_have_no_token(values: Path) -> None:
    for account in of_kind(rendered(values), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@each_values
def test_images_are_pinned_and_resources_bounded(values: Path) -> None:
    for deployment in of_kind(rendered(values), "Deployment"):
        for container in containers(deployment):
            assert re.fullmatch(r".+(:(?!.*latest)[^/:]+|@sha256:[0-9a-f]{64})", container["image"])
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind])


@each_values
def test_every_long_running_container_has_three_probes_and_a_drain(values: Path) -> None:
    for deployment in of_kind(rendered(values), "Deployment"):
        for container in pod_spec(deployment)["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
            assert container["lifecycle"]["preStop"]


@each_values
def test_grace_is_longer_than_prestop_and_drain(values: Path) -> None:
    needed_s = {"server": CLOSE_TIMEOUT_S, "gateway": GatewaySettings().grace_s + 2}
    for deployment in of_kind(rendered(values), "Deployment"):
        spec = pod_spec(deployment)
        for container in spec["containers"]:
            if container["name"] in needed_s:
                before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
                assert spec["terminationGracePeriodSeconds"] >= before_s + needed_s[container["name"]]


@each_values
def test_the_server_has_shared_memory_and_waits_for_its_own_start(values: Path) -> None:
    server = named(rendered(values), "Deployment", "-server")
    (container,) = pod_spec(server)["containers"]
    (volume,) = [v for v in pod_spec(server)["volumes"] if v["name"] == "shared-memory"]
    assert volume["emptyDir"]["medium"] == "Memory" and volume["emptyDir"]["sizeLimit"]
    assert any(mount["mountPath"] == "/dev/shm" for mount in container["volumeMounts"])
    (timeout,) = [a for a in container["args"] if a.startswith("--start-timeout=")]
    startup = container["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] > int(timeout.partition("=")[2])
    assert server["spec"]["progressDeadlineSeconds"] > int(timeout.partition("=")[2])
    models = [mount for mount in container["volumeMounts"] if mount["name"] == "models"]
    assert all(mount["readOnly"] for mount in models)


@each_values
def test_engines_have_a_volume_of_their_own_and_time_to_be_built(values: Path) -> None:
    server = named(rendered(values), "Deployment", "-server")
    (container,) = pod_spec(server)["containers"]
    named_cache = [argument for argument in container["args"] if argument.startswith("--engine-cache")]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_spec(server)["volumes"]}
    cache = (yaml.safe_load(values.read_text()) or {}).get("engineCache")
    if cache is None:
        assert not named_cache and "engine-cache" not in volumes
        return
    assert named_cache == ["--engine-cache=/engines"] and mounts["/engines"] == "engine-cache"
    assert "readOnly" not in next(m for m in container["volumeMounts"] if m["mountPath"] == "/engines")
    if cache["type"] == "pvc":
        claim = {"claimName": cache["pvc"]["existingClaim"]}
        assert volumes["engine-cache"]["persistentVolumeClaim"] == claim
    else:
        assert volumes["engine-cache"]["emptyDir"] == {"sizeLimit": cache["emptyDir"]["sizeLimit"]}
    (timeout,) = [a for a in container["args"] if a.startswith("--start-timeout=")]
    needed_s = int(timeout.partition("=")[2]) + cache.get("buildSeconds", 1800)
    startup = container["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] > needed_s
    assert server["spec"]["progressDeadlineSeconds"] > needed_s


@each_values
def test_no_replicas_beside_an_autoscaler(values: Path) -> None:
    manifests = rendered(values)
    scaled = {
        scaler["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for scaler in of_kind(manifests, kind)
    }
    deployments = of_kind(manifests, "Deployment")
    assert scaled <= {deployment["metadata"]["name"] for deployment in deployments}
    for deployment in deployments:
        assert ("replicas" in deployment["spec"]) is (deployment["metadata"]["name"] not in scaled)


@each_values
def test_names_and_selectors_are_the_release_s(values: Path) -> None:
    manifests = rendered(values)
    prefix = "detector" if values.stem == "bare-cluster" else values.stem
    for manifest in manifests:
        assert manifest["metadata"]["name"].startswith(prefix)
        assert manifest["metadata"]["namespace"] == "video"
        assert manifest["metadata"]["labels"][INSTANCE] == values.stem
    for deployment in of_kind(manifests, "Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert selector[INSTANCE] == values.stem


@each_values
def test_what_objects_refer_to_is_there(values: Path) -> None:
    """Services, budgets, policies and monitors select pods; routes and autoscalers name what exists."""
    manifests = rendered(values)
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(manifests, "Deployment")]
    selectors = [service["spec"]["selector"] for service in of_kind(manifests, "Service")]
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        selectors += [one["spec"]["selector"]["matchLabels"] for one in of_kind(manifests, kind)]
    selectors += [p["spec"]["podSelector"]["matchLabels"] for p in of_kind(manifests, "NetworkPolicy")]
    for selector in selectors:
        assert sum(selector.items() <= labels.items() for labels in pods) == 1
    services = {
        (service["metadata"]["name"], port["port"])
        for service in of_kind(manifests, "Service")
        for port in service["spec"]["ports"]
    }
    for route in [*of_kind(manifests, "GRPCRoute"), *of_kind(manifests, "HTTPRoute")]:
        for rule in route["spec"]["rules"]:
            assert {(b["name"], b["port"]) for b in rule["backendRefs"]} <= services
    for service in of_kind(manifests, "Service"):
        target = next(pod for pod in pods if service["spec"]["selector"].items() <= pod.items())
        (deployment,) = [
            d
            for d in of_kind(manifests, "Deployment")
            if d["spec"]["template"]["metadata"]["labels"] == target
        ]
        ports = {port["name"] for c in pod_spec(deployment)["containers"] for port in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@each_values
def test_every_mount_has_its_volume_and_no_object_appears_twice(values: Path) -> None:
    manifests = list(rendered(values))
    assert len(identities(manifests)) == len(manifests)
    for deployment in of_kind(manifests, "Deployment"):
        volumes = [volume["name"] for volume in pod_spec(deployment)["volumes"]]
        assert len(set(volumes)) == len(volumes)
        mounted = [mount["name"] for c in containers(deployment) for mount in c["volumeMounts"]]
        assert set(mounted) == set(volumes)


ODD_RELEASES = ["1", "123", "a.b.c", "true", "null", "a" * 53, "a" * 52 + "b", "x-deepfake-triton", "1.2.3"]


@pytest.mark.parametrize(
    "release", ODD_RELEASES, ids=lambda name: name if len(name) < 20 else f"a51{name[51:]}"
)
def test_odd_release_names_give_valid_names(release: str) -> None:
    for manifest in render(release=release, namespace="7"):
        assert manifest["metadata"]["namespace"] == "7"
        assert manifest["metadata"]["labels"][INSTANCE] == release
        name = manifest["metadata"]["name"]
        assert LABEL.fullmatch(name) and len(name) <= 63
        for value in manifest["metadata"]["labels"].values():
            assert LABEL_VALUE.fullmatch(value) and len(value) <= 63


OVERRIDES = ["Ünï code", "123", "true", "a_b", "-x-", "..", "n" * 200]


@pytest.mark.parametrize(
    "override", OVERRIDES, ids=["unicode", "digits", "true", "low", "dash", "dots", "long"]
)
@pytest.mark.parametrize("which", ["nameOverride", "fullnameOverride"])
def test_any_override_gives_valid_names(which: str, override: str) -> None:
    for manifest in render_with({which: override}):
        name = manifest["metadata"]["name"]
        assert LABEL.fullmatch(name) and len(name) <= 63
        assert all(LABEL_VALUE.fullmatch(value) for value in manifest["metadata"]["labels"].values())


def test_two_releases_in_a_namespace_never_collide() -> None:
    releases = ["a", "a-b", "deepfake-triton", "x-deepfake-triton", "x", "a.b", "a" * 53, "a" * 52 + "b"]
    releases += ["a-server", "a-deepfake-triton-server"]
    found: dict[tuple[str, str], str] = {}
    for release, override in [*((release, "") for release in releases), ("a", "b-c"), ("a-b", "c")]:
        owner = f"{release}/{override}"
        for identity in identities(render_with({"nameOverride": override}, release=release)):
            assert identity not in found, (owner, found[identity])
            found[identity] = owner


def test_only_the_gateway_and_prometheus_reach_a_triton() -> None:
    manifests = render_with({"envoy.enabled": False})
    (policy,) = [p for p in of_kind(manifests, "NetworkPolicy") if p["metadata"]["name"].endswith("-server")]
    (clients, prometheus) = policy["spec"]["ingress"]
    (peer,) = clients["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert "namespaceSelector" not in peer and clients["ports"] == [{"protocol": "TCP", "port": 8001}]
    assert prometheus["ports"] == [{"protocol": "TCP", "port": 8002}]
    (dns,) = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def ports_out(component: str, **values: object) -> list[int]:
    """TCP ports that a component's policy lets it reach, in all its rules."""
    rules = named(render_with(dict(values)), "NetworkPolicy", component)["spec"]["egress"]
    return [port["port"] for rule in rules for port in rule.get("ports", ()) if port.get("protocol") == "TCP"]


def test_policies_open_the_ports_of_what_is_named() -> None:
    hooks = {"existingSecret": "w", "url": "https://a.example.org:8443/x"}
    assert 8443 in ports_out("gateway", **{"gateway.webhooks": hooks})
    hooks["url"] = "http://a.example.org/x"
    assert 80 in ports_out("gateway", **{"gateway.webhooks": hooks}) and 80 not in ports_out("gateway")
    assert ports_out("server") == [53]
    assert ports_out("server", **{"networkPolicy.dnsPorts": [53, 5353]}) == [53, 5353]
    collector: dict[str, object] = {"tracing.endpoint": "http://otel.obs/v1/traces"}
    assert ports_out("server", **collector) == [53, 80]
    assert ports_out("server", **collector, **{"networkPolicy.collectorPort": 4318}) == [53, 4318]
    metadata = {
        "to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}],
        "ports": [{"protocol": "TCP", "port": 80}],
    }
    assert ports_out("server", **{"networkPolicy.serverEgress": [metadata]}) == [53, 80]
