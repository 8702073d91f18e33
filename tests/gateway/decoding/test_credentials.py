"""Content Credentials of an upload: read in the child that decodes it, without a file or a server."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
from decoder_uploads import started_pool, upload_from
from signed_files import authority_in

from deepfake_triton.client.provenance import CredentialsProcess
from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.preprocessing.video.sampling import FrameSelection

pytestmark = pytest.mark.triton


def credentials_of(pool: DecoderPool, path: Path) -> ContentCredentials | None:
    video = pool.open_video(upload_from(path), FrameSelection(num_frames=2), 60)
    assert len(list(video)) == 1
    return video.content_credentials


def test_every_state_is_that_of_detect(clip_path: Path, tmp_path: Path) -> None:
    authority = authority_in(tmp_path)
    signed = authority.sign(clip_path, tmp_path / "signed.mp4")
    data = bytearray(signed.read_bytes())
    data[data.index(b"mdat") + 40_000] ^= 1
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(data)
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/manifest.c2pa"
        remote = authority.sign(clip_path, tmp_path / "remote.mp4", remote_url=url)
        states = {}
        with started_pool(c2pa_trust=authority.pem) as pool:
            for path in (signed, changed, remote, clip_path):
                read = credentials_of(pool, path)
                process = CredentialsProcess(str(path), authority.pem)
                assert read is not None and read == process.result(), path.name
                states[path.name] = read.state
        server.shutdown()
    assert not asked
    assert states == {
        "signed.mp4": CredentialState.TRUSTED,
        "changed.mp4": CredentialState.INVALID,
        "remote.mp4": CredentialState.NONE,
        clip_path.name: CredentialState.NONE,
    }


def test_without_an_authority_the_signer_is_unknown(
    pool: DecoderPool, clip_path: Path, tmp_path: Path
) -> None:
    signed = authority_in(tmp_path).sign(clip_path, tmp_path / "signed.mp4")
    read = credentials_of(pool, signed)
    assert read is not None and read.state is CredentialState.VALID_UNKNOWN_SIGNER
    assert read.signer is not None and "Test newsroom" in read.signer


def test_a_file_that_holds_no_authority_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with (
        pytest.raises(InvalidOption, match=r"empty\.pem: holds no certificate"),
        started_pool(c2pa_trust=tmp_path / "empty.pem"),
    ):
        pass
