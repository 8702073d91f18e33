"""Types of command-line options: each reads the text of one option, or says what was expected instead.

All raise argparse.ArgumentTypeError, which argparse shows with the option's name and status 2.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from deepfake_triton.errors import ServerUnreachable
from deepfake_triton.host.addresses import urls_from_text

T = TypeVar("T")
_SIZES = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a type for whole numbers from `minimum` to `maximum`, both included."""
    bounds = f"{minimum} or more" if maximum is None else f"{minimum}…{maximum}"

    def parse(text: str) -> int:
        value = _parse(int, text, bounds)
        if value < minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f"got {value}, expected {bounds}")
        return value

    return parse


port = integer(0, 65535)
"""A TCP port; 0 lets the system choose one."""


def non_negative_number(text: str) -> float:
    """Parse a finite number of 0 or more."""
    value = _parse(float, text, "a number of 0 or more")
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number of 0 or more")
    return value


def positive_number(text: str) -> float:
    """Parse a finite number over 0."""
    value = _parse(float, text, "a number over 0")
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number over 0")
    return value


def share(text: str) -> float:
    """Parse a share over 0, at most 1."""
    value = _parse(float, text, "a share over 0, at most 1")
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a share over 0, at most 1")
    return value


def share_or_zero(text: str) -> float:
    """Parse a share from 0 to 1, both included."""
    value = _parse(float, text, "a share, 0…1")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a share, 0…1")
    return value


def seconds(text: str) -> float:
    """Parse a finite duration over 0 s."""
    value = _parse(float, text, "seconds over 0")
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text}, expected seconds over 0")
    return value


def seconds_within_a_day(text: str) -> float:
    """Parse a duration over 0 s and under 24 hours."""
    value = _parse(float, text, "seconds over 0")
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"got {text}, expected more than 0 and less than a day")
    return value


def size_bytes(text: str) -> int:
    """Parse a size over 0 such as `2G`, `500M` or `1048576`; K, M, G and T are powers of 1024."""
    value = _parse_with_unit(text, _SIZES, "a size over 0 such as 500M or 2G")
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a size over 0 such as 500M or 2G")
    return int(value)


def duration_seconds(text: str) -> float:
    """Parse a duration over 0 such as `90s`, `10m`, `4h`, `1d`, or seconds without a unit."""
    return _parse_with_unit(text, _DURATIONS, "a duration over 0 such as 90s, 10m or 4h")


def comma_separated(kind: Callable[[str], T], count: int | None = None) -> Callable[[str], tuple[T, ...]]:
    """Return a type for values such as `1,2,4`, exactly `count` of them unless that is None."""
    expected = f"{'numbers' if count is None else f'{count} numbers'} with commas between them"

    def parse(text: str) -> tuple[T, ...]:
        values = tuple(_parse(kind, part, expected) for part in text.split(","))
        if count is not None and len(values) != count:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}")
        return values

    return parse


def addresses(text: str) -> tuple[str, ...]:
    """Parse one or more gRPC addresses `host:port` with commas between them."""
    try:
        return urls_from_text(text)
    except ServerUnreachable as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def listening_host(text: str) -> str:
    """Parse an address or a name to listen on; an IPv6 address may stand in brackets, as in URLs."""
    host = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    if not re.fullmatch(r"[^\s/\[\]]+", host) or re.fullmatch(r"[^:]*:\d*", host):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an address or a name, without a port")
    return host


def host_names(text: str) -> tuple[str, ...]:
    """Parse names of hosts with commas between them, perhaps with ports, or with `*` for one label."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names or (text,):
        if not re.fullmatch(r"[^\s/@?#]+", name):
            raise argparse.ArgumentTypeError(f"got {name!r}, expected a host such as videos.example.org")
    return names


def own_names(text: str) -> tuple[str, ...]:
    """Parse names of this host with commas between them, as in URLs but without ports."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names or (text,):
        if not re.fullmatch(r"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\]", name):
            raise argparse.ArgumentTypeError(
                f"got {name!r}, expected a whole name such as judge.example.org, or an IPv6 address in "
                "brackets, without a port"
            )
    return names


def existing_file(text: str) -> Path:
    """Return the absolute path of a file that exists."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path.resolve()


def path_with_suffix(*suffixes: str) -> Callable[[str], Path]:
    """Return a type for the path of a file to write, whose suffix (such as `.mp4`) tells the format."""

    def parse(text: str) -> Path:
        if Path(text).suffix.lower() not in suffixes:
            expected = " or ".join(suffixes)
            raise argparse.ArgumentTypeError(f"got {text}, expected a name that ends in {expected}")
        return Path(text)

    return parse


def _parse(kind: Callable[[str], T], text: str, expected: str) -> T:
    try:
        return kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}") from error


def _parse_with_unit(text: str, units: Mapping[str, int], expected: str) -> float:
    """Parse a finite number over 0, with a unit behind it or none."""
    number, factor = (text[:-1], units[text[-1:].lower()]) if text[-1:].lower() in units else (text, 1)
    try:
        value = float(number) * factor
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}")
    return value
