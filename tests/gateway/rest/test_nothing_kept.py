from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateway_process import gateway_process

from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def all_bytes_under(folder: Path) -> Iterator[bytes]:
    """Every file's bytes, and its own name."""
    for path in folder.rglob("*"):
        yield path.name.encode()
        if path.is_file():
            yield path.read_bytes()


def test_disk_and_log_hold_neither_name_nor_hash_nor_content(
    published_server: TritonServer, clip_bytes: bytes, tmp_path: Path
) -> None:
    name, mark = f"{secrets.token_hex(8)}.mp4", secrets.token_hex(16)
    content = clip_bytes + mark.encode()
    broken = f"no video {mark}".encode()
    with gateway_process(published_server.url, tmp_path) as gateway:
        with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http:
            form = {"file": (name, content)}
            verdict = http.post("/v1/detect?frames=2", files=form, data={"preview": "1"})
            assert verdict.status_code == 200 and verdict.json()["video"] == name
            assert http.post("/v1/detect", files={"file": (name, broken)}).status_code == 422
            assert http.post(f"/v1/detect?name={name}", content=content).status_code == 422
            assert http.get(f"/{name}").status_code == 404
            job = http.post("/v1/detect?windows=64", files=form, headers={"Prefer": "respond-async"})
            assert http.delete(job.headers["location"]).status_code == 204
            kept = list(all_bytes_under(tmp_path))
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0
        log = gateway.log.read_text()
    assert "POST /v1/detect 200" in log and "GET - 404" in log, "the log has its lines"
    traces = [name, mark, *(hashlib.sha256(sent).hexdigest() for sent in (content, broken))]
    for trace in traces:
        assert all(trace.encode() not in found for found in [*kept, *all_bytes_under(tmp_path)]), trace
    assert job.json()["id"] not in log
    assert list((tmp_path / "spool").iterdir()) == list((tmp_path / "tmp").iterdir()) == []
