"""The small networks that redraw faces: shapes, shipped weights, and their training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from drawn_scene import LANDMARKS, scene
from safetensors import safe_open
from safetensors.torch import load_file

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.commands.dataset_regenerators import configure_regenerators
from deepfake_triton.training.faces.portrait_file import PictureQuality, write_portrait_file
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.regenerators import networks
from deepfake_triton.training.forgery.regenerators.networks import (
    REGENERATOR_WEIGHTS,
    Regenerator,
    redraw_face,
)
from deepfake_triton.training.forgery.regenerators.specs import REGENERATORS, SPECS, RegeneratorName
from deepfake_triton.training.forgery.regenerators.training import train_regenerators

pytestmark = pytest.mark.compute


def portraits() -> list[Portrait]:
    box = np.array([100.0, 60, 220, 220])
    return [Portrait(scene(seed), box, LANDMARKS, f"{seed}.png", f"person {seed}") for seed in range(3)]


def test_every_spec_has_weights_of_its_shape_and_all_fit_a_megabyte() -> None:
    assert tuple(SPECS) == REGENERATORS
    assert {spec.upsampling for spec in SPECS.values()} == {"nearest", "bilinear", "transposed", "shuffle"}
    assert REGENERATOR_WEIGHTS.stat().st_size < 1e6
    with safe_open(REGENERATOR_WEIGHTS, "pt") as stored:
        facts = json.loads(stored.metadata()["training"])
    assert set(facts) == set(REGENERATORS)
    for name, values in facts.items():
        assert values["photos"] > 1000 and values["steps"] > 100 and 0 < values["loss"] < 12, name


@pytest.mark.parametrize("name", REGENERATORS)
def test_a_network_redraws_what_it_sees(name: RegeneratorName) -> None:
    spec = SPECS[name]
    # A light disc on a dark ground, with a shade over both: no face, but light and dark must stay in place.
    at = np.linspace(-1, 1, spec.input_px)
    disc = np.hypot(at, at[:, None] * 0.8) < 0.6
    face = np.dstack(
        [np.where(disc, 180 + 30 * at, 60), np.where(disc, 140.0, 60), np.where(disc, 120.0, 70)]
    )
    redrawn = redraw_face(face.astype(np.uint8), name)
    assert redrawn.shape == (spec.output_px, spec.output_px, 3) and redrawn.dtype == np.uint8
    large = cv2.resize(face.astype(np.float32), (spec.output_px, spec.output_px))
    assert np.corrcoef(large.ravel(), redrawn.ravel())[0, 1] > 0.8


def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(networks, "REGENERATOR_WEIGHTS", tmp_path / "none.safetensors")
    networks.load_regenerator.cache_clear()
    expected = (
        r"none\.safetensors: the weights are not installed; write them there with `dataset regenerators`"
    )
    with pytest.raises(DatasetError, match=expected):
        networks.load_regenerator("upsampler-nearest")


def test_training_is_repeatable_and_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    once, again = tmp_path / "once.safetensors", tmp_path / "again.safetensors"
    facts = train_regenerators(portraits(), once, steps=2, portraits_sha256="0" * 64)
    assert list(facts) == list(REGENERATORS)
    assert facts["autoencoder-nearest"].steps == 2 and facts["upsampler-nearest"].steps == 1

    def interrupt(name: str, step: int, count: int) -> None:
        if name == REGENERATORS[3]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_regenerators(portraits(), again, steps=2, portraits_sha256="0" * 64, on_step=interrupt)
    begun = load_file(again)
    assert {key.split(".")[0] for key in begun} == set(REGENERATORS[:3])
    trained: list[str] = []
    train_regenerators(
        portraits(), again, steps=2, portraits_sha256="0" * 64, on_step=lambda name, *_: trained.append(name)
    )
    assert set(trained) == set(REGENERATORS[3:])
    first, second = load_file(once), load_file(again)
    assert set(first) == set(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"steps": 3}, "steps: got 1, expected 3"),
        ({"seed": 1}, "seed: got 0, expected 1"),
        ({"portraits_sha256": "1" * 64}, "portraits_sha256: got '000"),
    ],
)
def test_networks_trained_otherwise_are_not_taken_for_these(
    changed: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfake_triton.training.forgery.regenerators import training

    monkeypatch.setattr(training, "REGENERATORS", ("autoencoder-transposed",))
    file = tmp_path / "one.safetensors"
    settings: dict[str, Any] = {"steps": 1, "portraits_sha256": "0" * 64}
    (first,) = train_regenerators(portraits(), file, **settings).values()
    assert train_regenerators(portraits(), file, **settings) == {"autoencoder-transposed": first}
    with pytest.raises(DatasetError, match=f"autoencoder-transposed of other settings: {named}"):
        train_regenerators(portraits(), file, **(settings | changed))
    with safe_open(file, "pt") as stored:
        assert json.loads(stored.metadata()["training"])["autoencoder-transposed"]["seed"] == 0


def test_training_lowers_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepfake_triton.training.forgery.regenerators import training

    monkeypatch.setattr(training, "REGENERATORS", ("autoencoder-transposed",))
    errors = [
        training.train_regenerators(
            portraits(), tmp_path / f"{steps}.safetensors", steps=steps, portraits_sha256=""
        )
        for steps in (1, 40)
    ]
    assert errors[1]["autoencoder-transposed"].loss < 0.7 * errors[0]["autoencoder-transposed"].loss


def test_the_command_trains_on_the_split_train_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    configure_regenerators(parser.add_subparsers())
    faces, output = tmp_path / "faces.bin", tmp_path / "out.safetensors"
    write_portrait_file(faces, {"val": portraits()}, manifest_sha256="", quality=PictureQuality())
    args = parser.parse_args(["regenerators", str(faces), "--output", str(output), "--steps", "1"])
    with pytest.raises(DatasetError, match="--splits train"):
        args.action(args)
    write_portrait_file(
        faces, {"train": portraits()[:2], "val": portraits()}, manifest_sha256="", quality=PictureQuality()
    )
    assert args.action(args) == 0
    out = capsys.readouterr().out
    assert out.count("steps, mean error") == len(REGENERATORS) and "KiB" in out
    assert f"forgeries use {REGENERATOR_WEIGHTS}: copy the file there" in out
    with safe_open(output, "pt") as stored:
        facts = json.loads(stored.metadata()["training"])
    assert {values["photos"] for values in facts.values()} == {2}


def test_networks_of_a_gpu_generator_take_batches() -> None:
    for spec in SPECS.values():
        out = Regenerator(spec)(torch.zeros(2, 3, spec.input_px, spec.input_px))
        assert out.shape == (2, 3, spec.output_px, spec.output_px)
