"""Conditions of rendered clips: what they change is known, and all else stays."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Portrait as Head
from support import backdrop, pasted

from deepfake_triton import cli
from deepfake_triton.dataset_manifest import (
    ManifestRow,
    Split,
    half_of_split,
    read_manifest,
    transfer_half,
    write_manifest,
)
from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.video.timed_frames import read_frames
from deepfake_triton.training.augmentation.clip_conditions import condition_names, needs_mesh, pose_of
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.augmentation.pairs import PairSampler, ScenePair
from deepfake_triton.training.augmentation.still_clips import ClipSettings, write_still_clips
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.blending import Donor
from deepfake_triton.training.forgery.kinds import Kind

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


def test_rows_say_what_each_clip_shows(sampler: PairSampler, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("kinds", [("swap",), ("self-blend",)])
def test_camera_and_forgery_are_the_same_under_every_condition(
    sampler: PairSampler, kinds: tuple[Kind, ...], tmp_path: Path, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes and landmarks say how the camera sees a face, which is turned by 30° or mirrored."""
    scenes: list[ScenePair] = []
    draw_scene = PairSampler.draw_scene

    def recorded(*args: Any, **options: Any) -> ScenePair:
        scenes.append(draw_scene(*args, **options))
        return scenes[-1]

    monkeypatch.setattr(PairSampler, "draw_scene", recorded)
    forging = PairSampler(sampler.portraits, CropRule(), options=PairOptions(kinds=kinds))
    written(forging, tmp_path, "plain", "mirrored", "roll=30")
    for plain, mirrored, rolled in (scenes[:3], scenes[3:]):
        assert repr(plain.recipe) == repr(mirrored.recipe) == repr(rolled.recipe)
        for before, flipped, turned in zip(plain.views, mirrored.views, rolled.views, strict=True):
            np.testing.assert_allclose(flipped.box, before.box)
            np.testing.assert_allclose(turned.box, before.box)
            center = before.box.reshape(2, 2).mean(axis=0)
            around = before.landmarks - center
            cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
            rotated = around @ np.array([[cos, sin], [-sin, cos]])
            np.testing.assert_allclose(turned.landmarks - center, rotated, atol=0.5)
            own = sampler.portraits[0]
            shown = own.landmarks - own.box.reshape(2, 2).mean(axis=0)
            camera = np.linalg.lstsq(shown, around, rcond=None)[0]
            np.testing.assert_allclose(shown @ camera, around, atol=1e-6)
            mirror = (shown * (-1, 1))[[1, 0, 2, 4, 3]] @ camera
            np.testing.assert_allclose(flipped.landmarks - center, mirror, atol=1e-6)
            assert (flipped.pixels != before.pixels).any()


def test_swaps_cross_neither_splits_nor_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each person's photo is of one gray, by which the faces that are put onto others are known."""
    names = [f"id{number:04d}" for number in range(8)]
    landmarks = np.array([[75.0, 80], [125, 80], [100, 105], [80, 130], [120, 130]])
    box = np.array([50.0, 40, 150, 170])
    portraits = [
        Portrait(np.full((220, 200, 3), 20 + number, np.uint8), box, landmarks, name, name)
        for number, name in enumerate(names)
    ]
    split_of: dict[str, Split] = dict.fromkeys(names, "transfer")
    split_of |= {"id0000": "val", "id0001": "val"}
    half_of = {name: half_of_split(split, name) for name, split in split_of.items()}
    assert set(half_of.values()) == {"val", "transfer-even", "transfer-odd"}
    swaps: list[tuple[str, str]] = []
    draw_donor = PairSampler.draw_donor

    def recorded(sampler: PairSampler, rng: np.random.Generator, portrait: Portrait) -> Donor:
        donor = draw_donor(sampler, rng, portrait)
        swaps.append((portrait.identity, names[int(donor.image[0, 0, 0]) - 20]))
        return donor

    monkeypatch.setattr(PairSampler, "draw_donor", recorded)
    sampler = PairSampler(portraits, CropRule(), options=PairOptions(kinds=("swap",)))
    settings = ClipSettings(clips=4, num_frames=1, seed=1, crf=30)
    write_still_clips(sampler, tmp_path, split_of, settings=settings)
    assert len(swaps) == 32 and all(half_of[target] == half_of[donor] for target, donor in swaps)
    assert sum(target != donor for target, donor in swaps) > 16


def test_augmentations_without_effect_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.csv").write_text("path,label,identity,source,manipulation,original,split\n")
    command = ["dataset", "clips", str(tmp_path / "m.csv"), "--output", str(tmp_path / "out")]
    for name in ("heavy-compression", "motion-blur"):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*command, "--augmentations", name])
        assert f"got '{name}', expected all, none, head-pose, expressions, edits" in capsys.readouterr().err
    for name in ("head-pose", "edits,expressions", "all"):
        assert cli.main([*command, "--augmentations", name, "--conditions", "plain,roll=15"]) == 1
        said = capsys.readouterr().err
        assert "with --conditions plain,roll=15, which fix the pose of every clip" in said
    assert cli.main([*command, "--augmentations", "edits", "--conditions", "plain"]) == 1
    assert "no usable face" in capsys.readouterr().err  # they go together


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
