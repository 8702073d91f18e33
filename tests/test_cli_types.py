from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_triton import cli_types

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (cli_types.integer(1, 100), "100", 100),
        (cli_types.integer(0), "0", 0),
        (cli_types.port, "65535", 65535),
        (cli_types.non_negative_number, "0", 0.0),
        (cli_types.positive_number, "1e-9", 1e-9),
        (cli_types.share, "1", 1.0),
        (cli_types.share_or_zero, "0", 0.0),
        (cli_types.seconds, "1e9", 1e9),
        (cli_types.seconds_within_a_day, "0.5", 0.5),
        (cli_types.size_bytes, "2G", 2**31),
        (cli_types.size_bytes, "1.5k", 1536),
        (cli_types.size_bytes, "1048576", 2**20),
        (cli_types.duration_seconds, "10m", 600.0),
        (cli_types.duration_seconds, "1.5h", 5400.0),
        (cli_types.duration_seconds, "90", 90.0),
        (cli_types.duration_seconds, "0.5s", 0.5),
        (cli_types.comma_separated(int), "1,2,4", (1, 2, 4)),
        (cli_types.addresses, "a:1, [::1]:2,a:1", ("a:1", "[::1]:2")),
        (cli_types.listening_host, "[::1]", "::1"),
        (cli_types.listening_host, "gateway.example.org", "gateway.example.org"),
        (cli_types.host_names, "*.example.org, a:8443", ("*.example.org", "a:8443")),
        (cli_types.own_names, "judge.example.org, [::1],judge", ("judge.example.org", "[::1]", "judge")),
        (cli_types.comma_separated(float, 3), "0.485,0.456,0.406", (0.485, 0.456, 0.406)),
        (cli_types.path_with_suffix(".md", ".markdown"), "a/CARD.MD", Path("a/CARD.MD")),
    ],
)
def test_values_are_parsed(kind: Callable[[str], object], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (cli_types.integer(1, 100), "0", "got 0, expected 1…100"),
        (cli_types.integer(1, 100), "101", "got 101, expected 1…100"),
        (cli_types.integer(1), "1.5", "got '1.5', expected 1 or more"),
        (cli_types.port, "-1", "got -1, expected 0…65535"),
        (cli_types.positive_number, "0", "got 0, expected a number over 0"),
        (cli_types.positive_number, "nan", "got nan, expected a number over 0"),
        (cli_types.share, "0", "got 0, expected a share over 0, at most 1"),
        (cli_types.share, "1.01", "got 1.01, expected a share over 0, at most 1"),
        (cli_types.share_or_zero, "-0.1", "got -0.1, expected a share, 0…1"),
        (cli_types.share_or_zero, "half", "got 'half', expected a share, 0…1"),
        (cli_types.size_bytes, "2GB", "got '2GB', expected a size over 0 such as 500M or 2G"),
        (cli_types.size_bytes, "0", "got '0', expected a size over 0"),
        (cli_types.size_bytes, "G", "got 'G', expected a size over 0"),
        (cli_types.size_bytes, "infG", "got 'infG', expected a size over 0"),
        (cli_types.size_bytes, "", "got '', expected a size over 0"),
        (cli_types.duration_seconds, "ten", "got 'ten', expected a duration over 0 such as 90s, 10m or 4h"),
        (cli_types.duration_seconds, "-1m", "got '-1m', expected a duration over 0"),
        (cli_types.duration_seconds, "nan", "got 'nan', expected a duration over 0"),
        (cli_types.non_negative_number, "inf", "got inf, expected a number of 0 or more"),
        (cli_types.non_negative_number, "nan", "got nan, expected a number of 0 or more"),
        (cli_types.seconds, "0", "got 0, expected seconds over 0"),
        (cli_types.seconds, "soon", "got 'soon', expected seconds over 0"),
        (cli_types.seconds_within_a_day, "86400", "got 86400, expected more than 0 and less than a day"),
        (cli_types.comma_separated(int), "1,,2", "got '', expected numbers with commas between them"),
        (cli_types.comma_separated(float, 3), "1,2", "got '1,2', expected 3 numbers with commas between"),
        (cli_types.addresses, "https://a:1", "expected HOST:PORT"),
        (cli_types.listening_host, "localhost:80", "expected an address or a name, without a port"),
        (
            cli_types.host_names,
            "https://a.org",
            "got 'https://a.org', expected a host such as videos.example",
        ),
        (cli_types.own_names, "a.org, b.org:8443", "got 'b.org:8443', expected a whole name"),
        (cli_types.own_names, "*.example.org", "got '*.example.org', expected a whole name"),
        (
            cli_types.own_names,
            "::1",
            "got '::1', expected a whole name such as judge.example.org, or an IPv6",
        ),
        (cli_types.own_names, "", "got ''"),
        (cli_types.existing_file, "missing.pem", "missing.pem: no such file"),
        (cli_types.path_with_suffix(".png", ".svg"), "a.gif", "got a.gif, expected a name that ends in .png"),
    ],
)
def test_a_wrong_value_says_what_was_expected(kind: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        kind(text)
    assert message in str(caught.value)


def test_a_file_keeps_its_place_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir(tmp_path)
    assert cli_types.existing_file("ca.pem") == tmp_path / "ca.pem"
