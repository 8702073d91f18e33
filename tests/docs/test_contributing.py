"""CONTRIBUTING shows the layout as it is, and pre-commit runs what `make check` runs."""

from __future__ import annotations

import re

import pytest
from paths import ROOT

pytestmark = pytest.mark.fast


def folders_drawn() -> set[str]:
    """The folders of the tree in CONTRIBUTING.md, from the root of the repository."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (tree,) = re.findall(r"^```text\n(src/.*?)^```", text, re.MULTILINE | re.DOTALL)
    folders, parents = set(), list[str]()
    for line in tree.splitlines():
        branch, name = re.findall(r"^([│├└─ ]*)([\w/]+)/ +\S", line)[0]
        parents = [*parents[: len(branch) // 4], name]
        folders.add("/".join(parents))
    return folders


def test_the_tree_has_every_package_and_nothing_else() -> None:
    drawn = folders_drawn()
    assert all((ROOT / folder).is_dir() for folder in drawn)
    tops = {path.parent for path in ROOT.glob("*/__init__.py")} | {ROOT / "src/deepfake_triton"}
    packages = {path.parent for top in tops for path in top.rglob("__init__.py")}
    assert {path.relative_to(ROOT).as_posix() for path in packages} <= drawn


def test_pre_commit_runs_what_make_check_runs() -> None:
    (recipe,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    hooks = re.findall(r"^ +entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks == commands
