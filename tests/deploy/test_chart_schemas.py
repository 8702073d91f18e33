"""What the chart renders, against the schemas of Kubernetes and of the custom resources."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from deploy_tools import (
    CUSTOM,
    TOOLS,
    VALUES,
    Manifest,
    custom_faults,
    needs_crds,
    needs_helm,
    of_kind,
    rendered,
    run_tool,
)

VALIDATE = TOOLS / "bin" / "kubernetes-validate"
pytestmark = [
    pytest.mark.fast,
    needs_helm,
    pytest.mark.skipif(not VALIDATE.exists(), reason=".venv-deploy is missing: make test builds it"),
]


def everything() -> list[Manifest]:
    return [copy.deepcopy(manifest) for values in VALUES for manifest in rendered(values)]


def split() -> tuple[list[Manifest], list[Manifest]]:
    """Return Kubernetes' own objects, and the custom resources."""
    objects = everything()
    custom = [one for one in objects if one["apiVersion"].startswith(CUSTOM)]
    return [one for one in objects if one not in custom], custom


def validated(objects: list[Manifest], version: str, folder: Path) -> tuple[int, list[str]]:
    """Return the number of objects that are valid, and the faults; an unknown kind is one."""
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    done = run_tool(VALIDATE, "-k", version, "--strict", folder / "all.yaml")
    lines = (done.stdout + done.stderr).splitlines()
    passed = [line for line in lines if line.startswith("INFO") and " passed for resource " in line]
    return len(passed), [line for line in lines if line not in passed]


@pytest.mark.parametrize("version", ["1.31.0", "1.37.0"])
def test_kubernetes_knows_every_field(version: str, tmp_path: Path) -> None:
    core, _ = split()
    assert len(core) > 100
    assert validated(core, version, tmp_path) == (len(core), [])


def test_the_validator_sees_faults(tmp_path: Path) -> None:
    (typo, *_), (unknown, *_) = (of_kind(everything(), kind) for kind in ("Deployment", "GRPCRoute"))
    typo["spec"]["replica"] = 2
    passed, faults = validated([typo, unknown], "1.37.0", tmp_path)
    assert passed == 0 and "'replica' was unexpected" in faults[0] and "Couldn't find schema" in faults[1]


@needs_crds
def test_custom_resources_are_as_their_projects_define_them() -> None:
    """One run of node for all of them: the sets of values' own, and four with a fault each."""
    _, custom = split()
    kinds = {one["kind"] for one in custom}
    assert kinds == {
        "GRPCRoute", "HTTPRoute", "BackendTLSPolicy", "ScaledObject", "PodMonitor", "PrometheusRule",
    }  # fmt: skip
    typo, wrong, missing, unknown = (
        copy.deepcopy(of_kind(custom, kind)[0])
        for kind in ("ScaledObject", "GRPCRoute", "PodMonitor", "HTTPRoute")
    )
    typo["spec"]["minReplicas"] = 1
    wrong["spec"]["rules"][0]["backendRefs"][0]["port"] = "8081"
    del missing["spec"]["selector"]
    unknown["apiVersion"] = "example.org/v1"
    for number, one in enumerate((typo, wrong, missing, unknown)):
        one["metadata"]["name"] = f"fault-{number}"
    faults = custom_faults([*custom, typo, wrong, missing, unknown])
    found = {re.search(r"fault-\d", line)[0] for line in faults if re.search(r"fault-\d", line)}  # type: ignore[index]
    assert found == {"fault-0", "fault-1", "fault-2", "fault-3"}, faults
    assert [line for line in faults if "fault-" not in line] == []
