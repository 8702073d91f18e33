"""Pages name what exists: files, anchors, modules, commands; and the README stays short."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from page_blocks import commands_of
from paths import ROOT

from deepfake_triton import client
from deepfake_triton.benchmarks.gpu_day import assemble, known_clip, networks, pack, serve
from deepfake_triton.cli import SUBCOMMANDS

pytestmark = pytest.mark.fast

README_LINES = 180
PAGES = [
    *(path for path in ROOT.glob("*.md")),
    *(path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")),
]
GPU_DAY = (assemble, known_clip, networks, pack, serve)
FOREIGN_OPTIONS = {"--build-arg", "--enable-shared", "--import-mode", "--version"}
"""Those of Docker, pytest, configure, and the program without a subcommand."""
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE_PATH = re.compile(
    r"`((?:src|benchmarks|client|export|gateway|models?|model_repository|preprocessing|serving|training|tests|examples|docs)"
    r"/[\w./-]+|[A-Z_]+\.md|\.[\w/-]+\.yaml)`"
)
_MODULE = re.compile(r"deepfake_triton((?:\.[a-z_]+)+)")


def prose_of(page: Path) -> str:
    """The page without its fenced code."""
    return _FENCED.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose_of(page)):
        if not re.match(r"https?://", link):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_modules_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    for name in _CODE_PATH.findall(text):
        assert (ROOT / name).exists(), name
    for dotted in _MODULE.findall(text):
        parts = dotted.strip(".").split(".")  # the last ones may be names inside of a module
        paths = [ROOT.joinpath("src/deepfake_triton", *parts[:depth]) for depth in range(len(parts), 0, -1)]
        depths = [bool(path.is_dir() or path.with_suffix(".py").is_file()) for path in paths]
        assert any(depths[:3]), f"deepfake_triton{dotted}"


def options_of(command: str) -> set[str]:
    """The options of a subcommand, those of the commands inside of it included."""
    return options_declared_by(SUBCOMMANDS[command].configure)


def options_declared_by(configure: Callable[[argparse.ArgumentParser], None]) -> set[str]:
    parsers = [argparse.ArgumentParser()]
    configure(parsers[0])
    options = {"--help"}
    for parser in parsers:  # grows while it is gone through
        for action in parser._actions:
            options.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return options


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    for command in (*commands_of(text), *commands_of(text, marked=False)):
        program, *arguments = shlex.split(command.line, comments=True) or [""]
        if program.endswith("deepfake-triton"):
            options = options_of(arguments[0]) if arguments[0] in SUBCOMMANDS else {"--version"}
            assert {word.partition("=")[0] for word in arguments if word.startswith("--")} <= options
    gpu_day = (options_declared_by(module.configure) for module in GPU_DAY)
    everywhere = set().union(*map(options_of, SUBCOMMANDS), *gpu_day) | FOREIGN_OPTIONS
    assert set(re.findall(r"`(?:\w+ )*(--[a-z][a-z-]+)", prose_of(page))) <= everywhere


def test_the_readme_is_short_and_shows_a_command_early() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= README_LINES
    assert next(number for number, line in enumerate(lines, 1) if line.startswith("```")) <= 25


def test_the_generated_reference_is_what_the_code_says() -> None:
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    pages = list((ROOT / "docs/reference").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text()
        assert generate["with_generated_blocks"](text) == text, f"{page.name}: python docs/generate.py"


def test_every_subcommand_is_in_the_reference() -> None:
    assert anchors_of(ROOT / "docs/reference/cli.md") >= set(SUBCOMMANDS)


def test_every_public_name_of_the_client_is_in_the_reference() -> None:
    page = (ROOT / "docs/reference/client-api.md").read_text()
    assert sorted(re.findall(r"^::: deepfake_triton\.client\.(\w+)$", page, re.MULTILINE)) == client.__all__
