from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deepfake_triton.gateway.server import Listening

pytestmark = pytest.mark.triton

EXAMPLES = 20


def test_requests_made_from_the_description_get_what_it_promises(gateway: Listening, tmp_path: Path) -> None:
    """Valid and invalid requests, and chains of them along the links from a job to its events."""
    assert httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code == 200
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{gateway.url}/openapi.json",
        "--max-examples", str(EXAMPLES), "--seed", "17", "--request-timeout", "20", "--no-color",
        # Bytes that fit `format: binary` are seldom a video; a canceled job is still there, as `canceled`.
        "--exclude-checks", "positive_data_acceptance,use_after_free",
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "10 selected / 10 total" in ended.stdout
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in ended.stdout, ended.stdout
