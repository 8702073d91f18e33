"""Faces that get no row are said: in the JSON, and in a line on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Portrait
from support import backdrop, pasted, write_clip

from deepfake_triton import cli
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def crowds(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine faces for six frames, then ten."""
    height, width = portrait.patch.shape[:2]
    scenes = []
    for count in (9, 10):
        scene = backdrop(2 * height + 60, 5 * width + 60)
        for index in range(count):
            patch = portrait.patch[:, :: -1 if index % 2 else 1]
            scene = pasted(scene, patch, 30 + index % 5 * width, 30 + index // 5 * height)
        scenes.append(scene[: scene.shape[0] // 2 * 2, : scene.shape[1] // 2 * 2])
    images = [scenes[0]] * 6 + [scenes[1]] * 6
    return write_clip(tmp_path_factory.mktemp("crowds") / "crowds.mp4", images, codec_options={"crf": "12"})


def test_the_most_of_any_window_are_said(
    published_server: TritonServer, crowds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detect = ["detect", "--json", "--url", published_server.url, "--frames", "6", str(crowds)]
    for more, left_out, says in (
        ([], 1, "1 face left out: more than 8, or seen in too few frames"),
        (["--windows", "2"], 2, "2 faces left out: more than 8, or seen in too few frames"),
    ):
        assert cli.main([*detect, *more]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["faces_left_out"] == left_out
        assert f"{crowds}: {says}" in said.err


def test_a_clip_whose_faces_are_all_judged_says_nothing(
    published_server: TritonServer, two_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["detect", "--json", "--url", published_server.url, str(two_people)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["faces_left_out"] == 0 and "left out" not in said.err
