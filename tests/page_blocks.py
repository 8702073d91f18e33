"""Blocks of Markdown pages: console commands, whether an output is as they show, and Python programs."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BLOCK = re.compile(r"^(?P<mark><!-- test -->\n)?```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)"


@dataclass(frozen=True)
class Command:
    """One command of a block, and the output that the page shows."""

    line: str
    shown: str


def commands_of(page: str, *, marked: bool = True) -> list[Command]:
    """The commands of a page in its order: those in blocks marked `<!-- test -->`, or those in the others."""
    bodies = [found["body"] for found in _BLOCK.finditer(page) if bool(found["mark"]) == marked]
    parts = [part.partition("\n") for body in bodies for part in re.split(r"^\$ ", body, flags=re.MULTILINE)]
    return [Command(line, shown) for line, _, shown in parts if line]


def programs_of(page: str) -> list[str]:
    """The Python blocks of a page that are marked `<!-- test -->`."""
    return re.findall(r"^<!-- test -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def is_like(shown: str, output: str) -> bool:
    """Whether an output is as a page shows it.

    `…` stands for anything, a run of spaces for one. Numbers may differ by 0.05 or a tenth, since CPUs and
    encoders differ; ports, and numbers before `ms`, by anything.
    """
    parts = re.split(rf"(…|\s+|{_NUMBER})", shown.strip())
    wanted: list[float | None] = []
    pattern = ""
    for index, part in enumerate(parts):
        if re.fullmatch(_NUMBER, part):
            is_time = re.match(r"\s*ms\b", "".join(parts[index + 1 :]))
            is_port = "".join(parts[:index]).endswith("127.0.0.1:")
            wanted.append(None if is_time or is_port else float(part))
            pattern += rf"({_NUMBER})"
        else:
            pattern += ".*?" if part == "…" else r"\s+" if part.isspace() else re.escape(part)
    found = re.fullmatch(pattern, output.strip(), re.DOTALL)
    return found is not None and all(
        expected is None or abs(float(number) - expected) <= max(0.05, abs(expected) / 10)
        for number, expected in zip(found.groups(), wanted, strict=True)
    )
