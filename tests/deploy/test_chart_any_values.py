"""Sets of values, drawn at random: what is not refused with a reason is valid, and its commands are known."""

from __future__ import annotations

import argparse
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_tools import (
    CUSTOM,
    TOOLS,
    Manifest,
    Refused,
    containers,
    custom_faults,
    needs_crds,
    needs_helm,
    of_kind,
    pod_spec,
    render,
    run_tool,
)

from deepfake_triton.cli import SUBCOMMANDS
from deepfake_triton.commands.web_options import configure as configure_web
from deepfake_triton.serving.command import configure as configure_serve

NUM_SETS = 40
GATEWAYS: list[Any] = [{"name": "public"}]
REASON = re.compile(r"Error: execution error at \(\S+\): [a-zA-Z.]+: .{20,}")
pytestmark = [pytest.mark.slow, needs_helm, needs_crds]


@dataclass(frozen=True)
class Draw:
    """What chance decides."""

    chance: random.Random

    def pick(self, *choices: Any) -> Any:
        return self.chance.choice(choices)

    def flag(self) -> bool:
        return bool(self.chance.getrandbits(1))


def drawn(chance: random.Random) -> Manifest:
    """Values that the schema takes; some contradict each other."""
    draw = Draw(chance)
    pick, flag = draw.pick, draw.flag
    device, encrypted = pick("cpu", "gpu"), pick(False, False, True)
    mutual = encrypted and flag()
    return {
        "device": device,
        "nameOverride": pick("", "x", "A b"),
        "fullnameOverride": pick("", "", "zz-9"),
        "commonLabels": pick({}, {"a/b": "1", "app.kubernetes.io/name": "mine"}),
        "image": {"registry": pick("", "r.example.org", "r:5000/a/b"), "pullSecrets": pick([], ["1"])},
        "gpu": {"resource": pick("nvidia.com/gpu", "nvidia.com/mig-2g.20gb"), "count": pick(1, 2)},
        "modelRepository": {
            "type": pick("pvc", "objectStore", "image"),
            "revision": pick("", "1", "true"),
            "objectStore": {"source": "s:b/p", "existingSecret": "123"},
            "pvc": {"existingClaim": pick("", "5"), "subPath": pick("", "a/b c")},
            "signature": {"existingSecret": pick("", "signer")},
        },
        "engineCache": {
            "type": pick("none", "emptyDir", "pvc") if device == "gpu" else "none",
            "pvc": {"existingClaim": pick("", "7", "7")},
        },
        "server": drawn_server(draw, encrypted=encrypted, mutual=mutual),
        "gateway": drawn_gateway(draw, encrypted=encrypted, mutual=mutual),
        "envoy": {"enabled": flag(), "replicas": pick(1, 2)},
        "routes": drawn_routes(draw, may_open_triton=device == "gpu" and not encrypted),
        "networkPolicy": {
            "enabled": pick(True, True, False),
            "gatewayFrom": pick([], [{"podSelector": {}}]),
            "tritonFrom": pick([], [{"ipBlock": {"cidr": "10.0.0.0/8"}}]),
            "prometheusFrom": pick([], [{"namespaceSelector": {}}]),
            "storeTo": pick([], [{"ipBlock": {"cidr": "1.2.3.4/32"}}]),
        },
        "serviceAccount": {"create": flag(), "name": pick("", "sa", "9")},
        "monitoring": {
            "podMonitor": {"enabled": flag(), "gatewayKeySecret": "k", "labels": pick({}, {"release": "p"})},
            "prometheusRule": {"enabled": flag()},
            "dashboard": {"enabled": flag()},
        },
    }


def drawn_server(draw: Draw, *, encrypted: bool, mutual: bool) -> Manifest:
    pick, flag = draw.pick, draw.flag
    return {
        "replicas": pick(0, 1, 7),
        "maxQueue": pick(2, 16, 1000),
        "host": pick("0.0.0.0", "::"),
        "tls": {
            "enabled": encrypted,
            "existingSecret": pick("t", "1e5"),
            "clientCaSecret": "ca" * mutual,
        },
        "autoscaling": {
            "type": pick("none", "hpa", "keda"),
            "minReplicas": pick(1, 3),
            "maxReplicas": pick(3, 30),
            "keda": {"serverAddress": "http://p:9090", "query": pick("", "vector(1)")},
        },
        "podDisruptionBudget": {"enabled": flag(), "maxUnavailable": pick(1, "50%")},
        "strategy": {"maxSurge": pick(1, "25%"), "maxUnavailable": pick(0, "10%")},
        "podAnnotations": pick({}, {"a": "b: c", "deepfake-triton/model-revision": "x"}),
        "podLabels": pick({}, {"app.kubernetes.io/instance": "another"}),
        "tolerations": pick([], [{"operator": "Exists"}]),
        "extraEnv": pick([], [{"name": "A", "value": "1"}]),
        "extraArgs": pick([], ["--log-level=info"]),
        "resources": {"limits": {"cpu": pick("4", 2, 0.5)}, "requests": {"ephemeral-storage": "1Gi"}},
    }


def drawn_gateway(draw: Draw, *, encrypted: bool, mutual: bool) -> Manifest:
    pick, flag = draw.pick, draw.flag
    return {
        "enabled": pick(True, True, False),
        "replicas": pick(1, 3),
        "tls": {"enabled": flag(), "existingSecret": "gateway"},
        "tritonTls": {"existingSecret": "c" if encrypted else pick("", "c"), "mutual": mutual},
        "apiKeys": {"disabled": flag(), "existingSecret": pick("", "007")},
        "urlHosts": pick([], ["*.a.org", "b.org:8443"]),
        "webhooks": pick({}, {"url": "https://a/b?c=d&e={{x}}", "existingSecret": "w"}),
        "contentCredentials": {"trustConfigMap": pick("", "c2pa")},
        "service": {"type": pick("ClusterIP", "NodePort"), "sessionAffinity": pick("None", "ClientIP")},
    }


def drawn_routes(draw: Draw, *, may_open_triton: bool) -> Manifest:
    pick, flag = draw.pick, draw.flag
    return {
        "grpc": {
            "enabled": flag(),
            "parentRefs": GATEWAYS,
            "hostnames": pick(["a.org"], ["*.a.org"], []),
        },
        "http": {
            "enabled": flag(),
            "parentRefs": pick(GATEWAYS, [{"name": "public", "sectionName": "s"}]),
            "hostnames": pick(["b.org"], ["a.org"]),
            "sessionCookie": pick("", "c"),
        },
        "triton": {"enabled": may_open_triton and flag(), "parentRefs": GATEWAYS},
        "backendTls": {"caConfigMap": "ca", "hostname": "g.org"},
    }


def check(manifests: list[Manifest]) -> None:
    """Names are unique, pods hold together, and the commands know their options."""
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)
    for deployment in of_kind(manifests, "Deployment"):
        spec = deployment["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        mounted = {mount["name"] for one in containers(deployment) for mount in one["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod_spec(deployment)["volumes"]}
        for container in pod_spec(deployment)["containers"]:
            if container["name"] != "envoy":
                command, *options = container["args"]
                known = options_of(command)
                assert {option.partition("=")[0] for option in options if option.startswith("--")} <= known


def options_of(command: str) -> set[str]:
    parser = argparse.ArgumentParser()
    assert command in SUBCOMMANDS
    {"serve": configure_serve, "web": configure_web}[command](parser)
    return set(parser._option_string_actions)


def test_whatever_is_not_refused_is_valid(tmp_path: Path) -> None:
    chance, objects, num_refused = random.Random(5), list[Manifest](), 0
    for number in range(NUM_SETS):
        (tmp_path / "values.json").write_text(json.dumps(drawn(chance)))
        release = chance.choice(["a", "1", "a.b", "x" * 53, "deepfake-triton"])
        try:
            manifests = render("--values", tmp_path / "values.json", release=release, namespace="1")
        except Refused as refusal:
            assert REASON.search(str(refusal)), refusal
            num_refused += 1
            continue
        check(manifests)
        for one in manifests:
            one["metadata"]["name"] += f"-{number}"
        objects += manifests
    assert num_refused < NUM_SETS / 2
    custom = [one for one in objects if one["apiVersion"].startswith(CUSTOM)]
    assert custom_faults(custom) == []
    (tmp_path / "core.yaml").write_text(yaml.safe_dump_all([one for one in objects if one not in custom]))
    command = [str(TOOLS / "bin" / "kubernetes-validate"), "-k", "1.37.0", "--strict"]
    done = run_tool(*command, tmp_path / "core.yaml")
    assert [line for line in done.stdout.splitlines() if not line.startswith("INFO")] == []
    assert done.stdout.count("passed for resource") == len(objects) - len(custom) > 150
