"""Conditions of rendered clips: what they change is known, and all else stays."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Portrait as Head
from support import backdrop, pasted

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import ManifestRow, read_manifest, transfer_half, write_manifest
from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.video.timed_frames import read_frames
from deepfake_triton.training.augmentation.clip_conditions import condition_names, needs_mesh, pose_of
from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.augmentation.still_clips import ClipSettings, write_still_clips
from deepfake_triton.training.faces.portraits import Portrait

pytestmark = pytest.mark.compute

PEOPLE = ("a", "b")


@pytest.fixture
def sampler() -> PairSampler:
    landmarks = np.array([[75.0, 80], [125, 80], [100, 105], [80, 130], [120, 130]])
    box = np.array([50.0, 40, 150, 170])
    return PairSampler(
        [Portrait(backdrop(220, 200, seed), box, landmarks, name, name) for seed, name in enumerate(PEOPLE)],
        CropRule(),
    )


def written(sampler: PairSampler, folder: Path, *conditions: str) -> list[ManifestRow]:
    settings = ClipSettings(clips=1, num_frames=3, seed=1, crf=10, conditions=conditions)
    return write_still_clips(sampler, folder, {"a": "val", "b": "transfer"}, settings=settings)


def first_frame(path: Path) -> np.ndarray:
    return next(iter(read_frames(path, 1))).pixels.astype(float)


def test_names_are_parsed_or_refused_with_what_is_expected() -> None:
    assert condition_names("plain,roll=-15,yaw=20.5,eyes-closed") == (
        *("plain", "roll=-15", "yaw=20.5", "eyes-closed"),
    )
    for text, said in (
        ("rol=15", "got 'rol=15', expected plain, mirrored"),
        ("roll=90", "-45 to 45 degrees"),
        ("plain,plain", "each condition once"),
        ("roll=", "got 'roll='"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            condition_names(text)
    moving = ("yaw=20", "pitch=-5", "eyes-closed")
    assert all(map(needs_mesh, moving)) and not any(map(needs_mesh, ("plain", "mirrored", "roll=15")))
    motion = pose_of("yaw=20").motion
    assert motion is not None and (motion.yaw_degrees, motion.pitch_degrees, motion.eyes_closed) == (20, 0, 0)
    closed = pose_of("eyes-closed").motion
    assert closed is not None and closed.eyes_closed == 1


def test_conditions_change_the_pose_and_nothing_else(sampler: PairSampler, tmp_path: Path) -> None:
    plain = written(sampler, tmp_path / "without")
    rows = written(sampler, tmp_path / "with", "plain", "mirrored", "roll=30")
    assert [row.path for row in plain[:2]] == ["real/val-00000-0.mp4", "fake/val-00000-0.mp4"]
    assert {row.split for row in rows if row.identity == "b"} == {"transfer"} and len(rows) == 12
    by_name = {(row.identity, row.label, row.condition): row for row in rows}
    for person in PEOPLE:
        kinds = {row.manipulation for row in rows if row.identity == person and row.label == "fake"}
        assert len(kinds) == 1  # the same recipe under each condition
    same = first_frame(tmp_path / "with" / by_name["a", "real", ""].path)
    assert np.abs(same - first_frame(tmp_path / "without" / plain[0].path)).mean() < 2  # x264's threads
    fake = by_name["a", "fake", "roll=30"]
    assert fake.original == by_name["a", "real", "roll=30"].path
    pictures = {
        condition: first_frame(tmp_path / "with" / by_name["a", "real", condition].path)
        for condition in ("", "mirrored", "roll=30")
    }
    assert np.abs(pictures[""] - pictures["roll=30"]).mean() > 5
    assert np.abs(pictures[""] - pictures["mirrored"]).mean() > 5


def test_a_rolled_face_is_rolled_by_that_angle(sampler: PairSampler) -> None:
    angles = []
    for condition in ("plain", "roll=30"):
        rng = np.random.default_rng(0)
        scene = sampler.draw_scene(
            rng, sampler.portraits[0], num_frames=2, face_px=100, side=200, fixed=pose_of(condition)
        )
        left, right = scene.views[0].landmarks[:2]
        angles.append(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    assert angles[1] - angles[0] == pytest.approx(30, abs=3)  # the stretch of the path bends it a little


def test_faces_without_a_mesh_are_refused_before_anything_is_written(
    sampler: PairSampler, tmp_path: Path
) -> None:
    with pytest.raises(
        DatasetError, match=r"--conditions yaw=20: 2 of 2 faces have no mesh, the first is a;"
    ):
        written(sampler, tmp_path / "out", "plain", "yaw=20")
    assert not (tmp_path / "out").exists()
    one = replace(sampler.portraits[0], mesh=np.zeros((468, 3)))
    mixed = PairSampler([one, sampler.portraits[1]], CropRule())
    with pytest.raises(DatasetError, match=r"1 of 2 faces have no mesh, the first is b"):
        written(mixed, tmp_path / "out", "eyes-closed")


def test_the_command_renders_halves_and_turned_heads(
    portrait: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = {"even": "id0002", "odd": "id0000"}
    assert [transfer_half(person) for person in people.values()] == ["transfer-even", "transfer-odd"]
    photo = pasted(backdrop(360, 400), portrait.patch, 90, 80)
    rows = []
    for name, person in people.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo[..., ::-1])
        rows.append(ManifestRow(f"{name}.png", "real", person, "s", "", "", "transfer"))
    cv2.imwrite(str(tmp_path / "val.png"), photo[..., ::-1])
    rows.append(ManifestRow("val.png", "real", "id0001", "s", "", "", "val"))
    write_manifest(tmp_path / "m.csv", rows)
    command = [
        "dataset",
        "clips",
        str(tmp_path / "m.csv"),
        "--output",
        str(tmp_path / "out"),
        "--frames",
        "2",
    ]
    conditions = ["--conditions", "plain,yaw=25,eyes-closed"]
    assert cli.main([*command, "--split", "val,transfer-even", *conditions]) == 0
    assert "12 clips of 2 faces" in capsys.readouterr().out
    written_rows = read_manifest(tmp_path / "out" / "manifest.csv")
    assert {row.identity for row in written_rows} == {"id0001", "id0002"}
    assert {row.condition for row in written_rows} == {"", "yaw=25", "eyes-closed"}
    frames = {
        row.condition: first_frame(tmp_path / "out" / row.path)
        for row in written_rows
        if row.label == "real" and row.split == "transfer"
    }
    for condition in ("yaw=25", "eyes-closed"):
        assert np.abs(frames[condition] - frames[""]).max() > 40
    with pytest.raises(SystemExit, match="2"):
        cli.main([*command, "--conditions", "yaw=90"])
    assert "-40 to 40 degrees" in capsys.readouterr().err
