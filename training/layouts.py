"""The official directory layouts of the known collections, read by names alone.

FaceForensics++ (Rössler et al., ICCV 2019), DFDC (Dolhansky et al., 2020), Celeb-DF v1 and v2 (Li et al.,
CVPR 2020), plain `real/` and `fake/` folders, and photos of real people listed in a `manifest.csv`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.errors import DatasetError
from deepfake_triton.manifest import SPLITS, Label, Split
from deepfake_triton.preprocessing.media_files import media_files

FFPP_COMPRESSIONS = {"raw": "c0", "c0": "c0", "c23": "c23", "c40": "c40"}


@dataclass(frozen=True)
class Entry:
    """A file that a layout names, whether it is there or not."""

    path: Path
    label: Label
    identities: frozenset[str]
    source: str
    manipulation: str = ""
    original: Path | None = None
    official_split: Split | None = None


def entries_of(root: Path) -> tuple[str, list[Entry]]:
    """The layout's name and all its entries. Raises DatasetError for a folder of no known layout."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    for name, recognises, read in _LAYOUTS:
        if recognises(root):
            return name, sorted(read(root), key=lambda entry: entry.path)
    raise DatasetError(
        f"{root}: no known layout; expected original_sequences/ and manipulated_sequences/ "
        "(FaceForensics++), */metadata.json (DFDC), Celeb-real/ and Celeb-synthesis/ (Celeb-DF), "
        "real/ and fake/, or photos listed in manifest.csv (file, identity, split)"
    )


def _is_ffpp(root: Path) -> bool:
    return (root / "original_sequences").is_dir() or (root / "manipulated_sequences").is_dir()


def _ffpp(root: Path) -> Iterator[Entry]:
    splits = _ffpp_splits(root)
    for video in media_files(root):
        parts = video.relative_to(root).parts
        if len(parts) != 5 or parts[2] not in FFPP_COMPRESSIONS or parts[3] != "videos":
            continue
        kind, method, stored_as, _, _ = parts
        compression = FFPP_COMPRESSIONS[stored_as]
        people, scene = _ffpp_people(video.stem)
        official = {splits.get(person) for person in people}
        named = frozenset(f"ffpp:{person}" for person in people)
        split = official.pop() if len(official) == 1 else None
        source = f"ffpp/{method}/{compression}"
        if kind == "original_sequences":
            yield Entry(video, "real", named, source, official_split=split)
        elif kind == "manipulated_sequences":
            name = f"{people[0].removeprefix('actor')}__{scene}" if scene else people[0]
            folder = root / "original_sequences" / ("actors" if scene else "youtube") / stored_as / "videos"
            yield Entry(video, "fake", named, source, method, folder / f"{name}{video.suffix}", split)


def _ffpp_people(stem: str) -> tuple[list[str], str]:
    """Target first, then source: `000_003` of the 1,000 videos, `01_02__scene__XYZ` of the actors'."""
    people, _, scene = stem.partition("__")
    numbers = people.split("_")
    if not scene:
        return numbers, ""
    scene = re.sub(r"__[A-Z0-9]+$", "", scene) if len(numbers) == 2 else scene
    return [f"actor{number}" for number in numbers], scene


def _ffpp_splits(root: Path) -> dict[str, Split]:
    """The official lists: train.json, val.json and test.json, pairs of video numbers."""
    found: dict[str, Split] = {}
    for split in SPLITS:
        for path in (root / f"{split}.json", root / "splits" / f"{split}.json"):
            if path.is_file():
                found |= {str(number): split for pair in _json(path) for number in pair}
    return found


def _is_dfdc(root: Path) -> bool:
    return (root / "metadata.json").is_file() or any(root.glob("*/metadata.json"))


def _dfdc(root: Path) -> Iterator[Entry]:
    listed = [
        (path.parent, name, facts)
        for path in sorted({*root.glob("metadata.json"), *root.glob("*/metadata.json")})
        for name, facts in _json(path).items()
    ]
    # All of a training part says "train", which splits nothing.
    use_splits = len({facts.get("split") for _, _, facts in listed}) > 1
    for folder, name, facts in listed:
        original = facts.get("original")
        split = {"validation": "val"}.get(facts.get("split"), facts.get("split"))
        yield Entry(
            path=folder / name,
            label="fake" if str(facts.get("label")).upper() == "FAKE" else "real",
            identities=frozenset({f"dfdc:{Path(original or name).stem}"}),
            source="dfdc",
            manipulation="dfdc" if original else "",
            original=folder / original if original else None,
            official_split=split if use_splits and split in SPLITS else None,
        )


def _is_celeb(root: Path) -> bool:
    return (root / "Celeb-real").is_dir() or (root / "Celeb-synthesis").is_dir()


def _celeb(root: Path) -> Iterator[Entry]:
    listing = root / "List_of_testing_videos.txt"
    names = [line.split(maxsplit=1)[1].strip() for line in _lines(listing) if len(line.split()) == 2]
    for path in sorted({*(root / name for name in names), *media_files(root)}):
        folder = path.relative_to(root).parts[0]
        official: Split | None = "test" if str(path.relative_to(root)) in names else None
        people = re.findall(r"id\d+", path.stem)
        if folder == "Celeb-synthesis" and len(people) == 2:
            original = root / "Celeb-real" / f"{people[0]}_{path.stem.split('_')[-1]}{path.suffix}"
            yield Entry(path, "fake", _celebs(people), "celeb-df", "celeb-df", original, official)
        elif folder in ("Celeb-real", "YouTube-real"):
            yield Entry(
                path, "real", _celebs(people or [f"youtube{path.stem}"]), "celeb-df", "", None, official
            )


def _celebs(people: list[str]) -> frozenset[str]:
    return frozenset(f"celeb-df:{person}" for person in people)


def _is_plain(root: Path) -> bool:
    return (root / "real").is_dir() or (root / "fake").is_dir()


def _plain(root: Path) -> Iterator[Entry]:
    """One folder a person below `real/` and `fake/`, or else one person a file name.

    A fake's original is the real file of the same name, or of the name before its first "__".
    """
    originals = {path.relative_to(root / "real").with_suffix(""): path for path in media_files(root / "real")}
    for label in ("real", "fake"):
        for path in media_files(root / label):
            inside = path.relative_to(root / label)
            stem = inside.stem.split("__")[0]
            person = inside.parts[0] if len(inside.parts) > 1 else stem
            original = originals.get(inside.with_suffix("")) or originals.get(inside.parent / stem)
            people = frozenset({f"{root.name}:{person}"})
            if label == "real":
                yield Entry(path, "real", people, root.name)
            else:
                yield Entry(path, "fake", people, root.name, "unknown", original)


def _is_listed(root: Path) -> bool:
    return (root / "manifest.csv").is_file()


def _listed(root: Path) -> Iterator[Entry]:
    """Real photos or videos, each with its person, and the split where the list decides it."""
    with (root / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not {"file", "identity"} <= row.keys():
                raise DatasetError(f"{root}/manifest.csv: the columns file and identity are missing")
            split = row.get("split")
            source = row.get("source_repo") or row.get("source") or root.name
            people = frozenset({f"{root.name}:{row['identity']}"})
            official: Split | None = split if split in SPLITS else None
            yield Entry(root / row["file"], "real", people, source, official_split=official)


_LAYOUTS: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], Iterator[Entry]]], ...] = (
    ("FaceForensics++", _is_ffpp, _ffpp),
    ("DFDC", _is_dfdc, _dfdc),
    ("Celeb-DF", _is_celeb, _celeb),
    ("real and fake folders", _is_plain, _plain),
    ("real people, listed", _is_listed, _listed),
)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON: {error}") from error


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
