"""The init container that fetches a repository: its command line, run by rclone, and what `serve` checks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from deploy_tools import TOOLS, named, needs_helm, pod_spec, rendered
from paths import ROOT

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.check import check_repository

RCLONE = TOOLS / "bin" / "rclone"
pytestmark = [
    pytest.mark.fast,
    needs_helm,
    pytest.mark.skipif(not RCLONE.exists(), reason=".venv-deploy is missing: make test builds it"),
]


def fetch(store: Path, models: Path, folder: Path) -> None:
    """Run the chart's own command with a folder for the bucket."""
    server = named(rendered(ROOT / "tests/deploy/values/object-store.yaml"), "Deployment", "-server")
    (container,) = pod_spec(server)["initContainers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"][-2:] == ["store:models/deepfake detector/v2", mounts["models"]]
    (folder / "rclone.conf").write_text(f"[store]\ntype = alias\nremote = {store}\n")
    arguments = [
        argument.replace("/rclone/rclone.conf", str(folder / "rclone.conf"))
        for argument in container["args"][:-1]
    ]
    environment = {"HOME": str(folder), "RCLONE_CACHE_DIR": str(folder / "cache")}
    assert set(environment) == {variable["name"] for variable in container["env"]}
    subprocess.run([str(RCLONE), *arguments, str(models)], env=environment, check=True, timeout=60)


def test_a_repository_is_fetched_whole_and_a_damaged_one_is_refused(
    small_repository: Path, tmp_path: Path
) -> None:
    store, models = tmp_path / "bucket", tmp_path / "models"
    (store / "models").mkdir(parents=True)
    (store / "models" / "deepfake detector").mkdir()
    (store / "models" / "deepfake detector" / "v2").symlink_to(small_repository)
    models.mkdir()
    (models / "left-over.onnx").write_bytes(b"of an earlier version")
    fetch(store, models, tmp_path)
    assert check_repository(models).models == ("face_tracker",)
    config = models / "face_tracker" / "config.pbtxt"
    config.write_text(config.read_text() + "# changed\n")
    with pytest.raises(InvalidRepository, match=r"face_tracker/config\.pbtxt"):
        check_repository(models)
    fetch(store, models, tmp_path)
    check_repository(models)
