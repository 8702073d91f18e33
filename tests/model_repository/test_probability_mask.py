"""On a real Triton, rows in which nothing was observed carry NaN; older exports are served as they are."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted
from tritonclient import grpc

from deepfake_triton.client import DeepfakeClient, FrameBatch, Transport
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.repository.approval import accept
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

CALLERS = 8
Answer = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def scenery(clip_frames: FrameBatch) -> FrameBatch:
    """As many frames as the real clip has, and as large, with nobody in them."""
    height, width = clip_frames.data.shape[1:3]
    frames = [backdrop(height, width, seed) for seed in range(len(clip_frames))]
    return FrameBatch(np.stack(frames), clip_frames.pts_seconds, clip_frames.end_seconds)


@pytest.fixture(scope="module")
def crowd(portrait: Portrait) -> FrameBatch:
    """Ten faces."""
    height, width = portrait.patch.shape[:2]
    scene = backdrop(2 * height + 60, 5 * width + 60)
    for row in range(2):
        for column in range(5):
            patch = portrait.patch[:, :: -1 if column % 2 else 1]
            scene = pasted(scene, patch, 30 + column * width, 30 + row * height)
    return FrameBatch(np.stack([scene] * 6), np.arange(6) / 30, 0.2)


def asked(url: str, frames: np.ndarray) -> Answer:
    """What any KServe client gets: all outputs."""
    tensor = grpc.InferInput("frames", list(frames.shape), "UINT8")
    tensor.set_data_from_numpy(frames)
    with grpc.InferenceServerClient(url) as connection:
        result = connection.infer("deepfake_detector", [tensor])
    return {each.name: result.as_numpy(each.name) for each in result.get_response().outputs}


def test_a_clip_without_a_face_is_no_number_to_any_client(
    *, published_server: TritonServer, client: DeepfakeClient, scenery: FrameBatch, clip_frames: FrameBatch
) -> None:
    blank = asked(published_server.url, scenery.data)
    assert set(blank) == {"fake_probability", "boxes", "observed", "faces_left_out"}
    assert np.isnan(blank["fake_probability"]).tolist() == [[True]] and not blank["observed"].any()
    assert blank["faces_left_out"].dtype == np.int32 and blank["faces_left_out"].tolist() == [0]
    verdict = client.detect(scenery)
    assert (verdict.verdict.value, verdict.reason, verdict.faces_left_out) == ("INCONCLUSIVE", "no_face", 0)
    shown = asked(published_server.url, clip_frames.data)
    assert shown["observed"].all() and np.isfinite(shown["fake_probability"]).all()


def test_callers_with_and_without_faces_get_what_each_would_get_alone(
    published_server: TritonServer, scenery: FrameBatch, clip_frames: FrameBatch
) -> None:
    clips = [clip_frames.data, scenery.data, clip_frames.data[::-1].copy(), clip_frames.data[:7]] * 4
    alone = [asked(published_server.url, clip)["fake_probability"] for clip in clips[:4]] * 4
    with ThreadPoolExecutor(CALLERS) as pool:
        together = list(pool.map(lambda clip: asked(published_server.url, clip), clips))
    for one, expected in zip(together, alone, strict=True):
        assert one["fake_probability"] == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert sum(np.isnan(one["fake_probability"]).any() for one in together) == 4


@pytest.mark.parametrize("transport", [Transport.AUTO, Transport.JPEG])
def test_both_ensembles_count_faces_and_mask_rows(
    *, published_server: TritonServer, scenery: FrameBatch, crowd: FrameBatch, transport: Transport
) -> None:
    with DeepfakeClient(published_server.url, transport=transport) as asking:
        verdict = asking.detect(crowd)
        assert (len(verdict.faces), verdict.faces_left_out) == (8, 2)
        assert verdict.as_dict()["faces_left_out"] == 2
        assert asking.detect(scenery).reason == "no_face"


def test_tensors_that_do_not_belong_together_are_refused(published_server: TritonServer) -> None:
    probability, observed = np.zeros((2, 1), np.float32), np.ones((1, 4), np.bool_)
    inputs = []
    for name, array, kind in (
        ("classifier_probability", probability, "FP32"),
        ("observed", observed, "BOOL"),
    ):
        inputs.append(grpc.InferInput(name, list(array.shape), kind))
        inputs[-1].set_data_from_numpy(array)
    with (
        grpc.InferenceServerClient(published_server.url) as connection,
        pytest.raises(grpc.InferenceServerException, match=r"got \[2, 1\], expected \[F, 1\]"),
    ):
        connection.infer("probability_mask", inputs)


def as_exported_before(repository: Path) -> None:
    """Take the mask and `faces_left_out` out of a repository, as if an older release had written it."""
    shutil.rmtree(repository / "probability_mask")
    (repository / "deepfake_detector/1/configs/probability_mask.pbtxt").unlink()
    step = repository / "face_tracker" / "1" / "model.py"
    lines = step.read_text().splitlines(keepends=True)
    kept = [line for line in lines if "faces_left_out" not in line]
    assert len(kept) < len(lines)
    step.write_text("".join(kept))
    configs = [*repository.glob("*/config.pbtxt"), *repository.glob("deepfake_detector/1/configs/*.pbtxt")]
    for path in configs:
        config = config_from_text(path.read_text())
        outputs = [output for output in config.output if output.name != "faces_left_out"]
        del config.output[:]
        config.output.extend(outputs)
        if config.platform == "ensemble":
            steps = config.ensemble_scheduling.step
            assert steps.pop().model_name == "probability_mask"
            steps[-1].output_map["fake_probability"] = "fake_probability"
            for each in steps:
                each.output_map.pop("faces_left_out", None)
        path.write_text(config_text(config))
    accept(repository)


def test_a_repository_of_an_older_export_is_served_and_asked(
    *, published_repository: Path, scenery: FrameBatch, clip_frames: FrameBatch, tmp_path: Path
) -> None:
    older = tmp_path / "repository"
    shutil.copytree(published_repository, older)
    as_exported_before(older)
    options = ServerOptions.on_free_ports(older)
    with TritonServer(options) as server, DeepfakeClient(server.url) as asking:
        answer = asked(server.url, scenery.data)
        assert set(answer) == {"fake_probability", "boxes", "observed"}
        assert np.isfinite(answer["fake_probability"]).all(), "what the mask is for"
        verdict = asking.detect(scenery)
        assert (verdict.reason, verdict.fake_probability, verdict.faces_left_out) == ("no_face", None, 0)
        assert asking.detect(clip_frames).faces[0].frames_observed == len(clip_frames)
