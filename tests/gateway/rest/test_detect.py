from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from running_gateway import running_gateway

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture
def line_of(published_server: TritonServer, capsys: pytest.CaptureFixture[str]) -> Any:
    """The object that `detect --json` prints for a file."""

    def detect(path: Path, *options: str) -> dict[str, Any]:
        capsys.readouterr()
        cli.main(["detect", "--json", "--url", published_server.url, *options, str(path)])
        line: dict[str, Any] = json.loads(capsys.readouterr().out)
        return line

    return detect


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the two keys that differ from one run to the next."""
    return {key: value for key, value in answer.items() if key not in ("latency_ms", "video")}


def test_a_raw_body_and_a_form_get_the_object_of_detect(
    http: httpx.Client, clip_path: Path, clip_bytes: bytes, line_of: Any
) -> None:
    expected = line_of(clip_path)
    assert expected["verdict"] and expected["faces"], "an answer worth comparing"
    raw = http.post("/v1/detect", content=clip_bytes, headers={"X-Filename": clip_path.name})
    form = http.post("/v1/detect", files={"file": (f"C:\\videos/{clip_path.name}", clip_bytes)})
    for response in (raw, form):
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["video"] == clip_path.name
        assert set(answer["latency_ms"]) == {"decode", "infer", "total"}
        assert list(answer) == list(expected)
        assert comparable(answer) == comparable(expected)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ({"windows": "3", "frames": "8"}, ["--windows", "3", "--frames", "8"]),
        ({"sampling": "uniform", "frames": "12"}, ["--sampling", "uniform", "--frames", "12"]),
    ],
)
def test_options_are_those_of_detect(
    http: httpx.Client, clip_path: Path, line_of: Any, query: dict[str, str], options: list[str]
) -> None:
    response = http.post("/v1/detect", params=query, content=clip_path.read_bytes())
    assert response.status_code == 200, response.text
    assert comparable(response.json()) == comparable(line_of(clip_path, *options))


def test_an_operating_point_is_chosen_by_name(
    http: httpx.Client, client: DeepfakeClient, clip_path: Path, clip_bytes: bytes, line_of: Any
) -> None:
    for name in client.model().operating_points:
        response = http.post("/v1/detect", params={"operating_point": name}, content=clip_bytes)
        assert response.json()["operating_point"]["name"] == name
        assert comparable(response.json()) == comparable(line_of(clip_path, "--operating-point", name))
    refused = http.post("/v1/detect", params={"operating_point": "sometimes"}, content=clip_bytes)
    assert refused.status_code == 422 and refused.json()["error"] == "InvalidOption"
    assert all(name in refused.json()["detail"] for name in client.model().operating_points)


@pytest.mark.parametrize("content", [b"plain text, and no video\n", b"\x89PNG\r\n\x1a\n" + b"\x00" * 64])
def test_errors_are_those_of_detect(http: httpx.Client, tmp_path: Path, line_of: Any, content: bytes) -> None:
    path = tmp_path / "not a video.mp4"
    path.write_bytes(content)
    expected = line_of(path)["error"]
    response = http.post("/v1/detect", files={"file": (path.name, content)})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["error"] == expected["type"]
    assert problem["detail"] == expected["message"].replace(str(path), path.name)
    assert problem["status"] == 422 and problem["title"]
    page = http.get(problem["type"])
    assert page.status_code == 200 and page.json()["title"] == problem["title"]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, "upload"),
        ({"Content-Disposition": 'attachment; filename="holiday \\"1\\".mp4"'}, 'holiday "1".mp4'),
        ({"Content-Disposition": "attachment; filename=clip.mp4"}, "clip.mp4"),
        (
            {"Content-Disposition": f"attachment; filename=x.mp4; filename*=UTF-8''{quote('öl.mp4')}"},
            "öl.mp4",
        ),
        ({"X-Filename": quote("../../etc/öl.mp4")}, "öl.mp4"),
    ],
)
def test_the_name_of_a_raw_body(http: httpx.Client, headers: dict[str, str], name: str) -> None:
    """An empty video is refused before any server is asked, by its name."""
    response = http.post("/v1/detect", content=b"no video", headers=headers)
    assert response.json()["detail"].startswith(f"{name}: ")


def test_a_form_takes_one_file_and_known_settings(http: httpx.Client, clip_bytes: bytes) -> None:
    file = ("clip.mp4", clip_bytes)
    for files, data, status in (
        ([("file", file), ("file", file)], {}, 400),
        ([("file", file)], {"path": "/etc/passwd"}, 422),
        ([("file", file)], {"preview": "perhaps"}, 422),
    ):
        response = http.post("/v1/detect", files=files, data=data)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
    empty = http.post(
        "/v1/detect", headers={"Content-Type": "multipart/form-data; boundary=x"}, content=b"--x--\r\n"
    )
    assert (empty.status_code, empty.json()["error"]) == (400, "UploadMalformed")


def test_an_empty_body_is_an_empty_file(http: httpx.Client, tmp_path: Path, line_of: Any) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    error = line_of(path)["error"]
    for sent in ({"headers": {"X-Filename": path.name}}, {"files": {"file": (path.name, b"")}}):
        response = http.post("/v1/detect", **sent)
        assert (response.status_code, response.json()["error"]) == (422, error["type"])
        assert response.json()["detail"] == error["message"].replace(str(path), path.name)


def test_urls_are_refused_unless_allowed(http: httpx.Client) -> None:
    response = http.post("/v1/detect", json={"url": "https://example.org/a.mp4"})
    assert (response.status_code, response.json()["error"]) == (403, "UrlRefused")


def test_an_allowed_host_does_not_open_this_machine(published_server: TritonServer) -> None:
    settings = GatewaySettings(
        urls=(published_server.url,), port=0, grpc_port=None, url_hosts=("localhost", "127.0.0.1")
    )
    with running_gateway(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False) as http:
        for url in (
            "https://localhost/a.mp4",
            "http://127.0.0.1/a.mp4",
            "https://example.org/a",
            "file:///a",
        ):
            response = http.post("/v1/detect", json={"url": url})
            assert (response.status_code, response.json()["error"]) == (403, "UrlRefused"), url
        for body in (
            b"{",
            b"[]",
            b'{"url": 1}',
            b'{"url": "https://a.b/", "x": 1}',
            b" " * 20_000,
            b"[" * 9999,
        ):
            response = http.post("/v1/detect", content=body, headers={"Content-Type": "application/json"})
            assert (response.status_code, response.json()["error"]) == (400, "UploadMalformed"), body
