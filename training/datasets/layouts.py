"""Official directory layouts of known datasets, read from file names and metadata alone.

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

from deepfake_triton.dataset_manifest import SPLITS, Label, Split
from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.media.folders import list_media_files

FFPP_COMPRESSIONS = {"raw": "c0", "c0": "c0", "c23": "c23", "c40": "c40"}


@dataclass(frozen=True)
class Entry:
    """File listed by a layout, whether it exists or not; `identities` are the people in it."""

    path: Path
    label: Label
    identities: frozenset[str]
    source: str
    manipulation: str = ""
    original: Path | None = None
    official_split: Split | None = None


def read_layout(root: Path) -> tuple[str, list[Entry]]:
    """Return the name of a folder's layout and its entries, sorted by path.

    Raises DatasetError for a folder of no known layout.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    for name, matches, read in _LAYOUTS:
        if matches(root):
            return name, sorted(read(root), key=lambda entry: entry.path)
    raise DatasetError(
        f"{root}: no known layout; expected original_sequences/ and manipulated_sequences/ "
        "(FaceForensics++), */metadata.json (DFDC), Celeb-real/ and Celeb-synthesis/ (Celeb-DF), "
        "real/ and fake/, or photos listed in manifest.csv (file, identity, split)"
    )


def _is_ffpp(root: Path) -> bool:
    return (root / "original_sequences").is_dir() or (root / "manipulated_sequences").is_dir()


def _read_ffpp(root: Path) -> Iterator[Entry]:
    splits = _read_ffpp_splits(root)
    for video in list_media_files(root):
        parts = video.relative_to(root).parts
        if len(parts) != 5 or parts[2] not in FFPP_COMPRESSIONS or parts[3] != "videos":
            continue
        kind, method, stored_as, _, _ = parts
        compression = FFPP_COMPRESSIONS[stored_as]
        people, scene = _parse_ffpp_name(video.stem)
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


def _parse_ffpp_name(stem: str) -> tuple[list[str], str]:
    """Parse the people, target before source, and the scene from a file name.

    Names are `000_003` for the 1,000 videos and `01_02__scene__XYZ` for those of actors.
    """
    people, _, scene = stem.partition("__")
    numbers = people.split("_")
    if not scene:
        return numbers, ""
    scene = re.sub(r"__[A-Z0-9]+$", "", scene) if len(numbers) == 2 else scene
    return [f"actor{number}" for number in numbers], scene


def _read_ffpp_splits(root: Path) -> dict[str, Split]:
    """Read lists such as the official train.json, val.json and test.json: pairs of video numbers."""
    found: dict[str, Split] = {}
    for split in SPLITS:
        for path in (root / f"{split}.json", root / "splits" / f"{split}.json"):
            if path.is_file():
                found |= {str(number): split for pair in _read_json(path) for number in pair}
    return found


def _is_dfdc(root: Path) -> bool:
    return (root / "metadata.json").is_file() or any(root.glob("*/metadata.json"))


def _read_dfdc(root: Path) -> Iterator[Entry]:
    listed = [
        (path.parent, name, metadata)
        for path in sorted({*root.glob("metadata.json"), *root.glob("*/metadata.json")})
        for name, metadata in _read_json(path).items()
    ]
    # Every file of a training part has the split "train", which would leave nothing to validate on.
    use_splits = len({metadata.get("split") for _, _, metadata in listed}) > 1
    for folder, name, metadata in listed:
        original = metadata.get("original")
        split = {"validation": "val"}.get(metadata.get("split"), metadata.get("split"))
        yield Entry(
            path=folder / name,
            label="fake" if str(metadata.get("label")).upper() == "FAKE" else "real",
            identities=frozenset({f"dfdc:{Path(original or name).stem}"}),
            source="dfdc",
            manipulation="dfdc" if original else "",
            original=folder / original if original else None,
            official_split=split if use_splits and split in SPLITS else None,
        )


def _is_celeb(root: Path) -> bool:
    return (root / "Celeb-real").is_dir() or (root / "Celeb-synthesis").is_dir()


def _read_celeb(root: Path) -> Iterator[Entry]:
    listing = root / "List_of_testing_videos.txt"
    names = [line.split(maxsplit=1)[1].strip() for line in _read_lines(listing) if len(line.split()) == 2]
    for path in sorted({*(root / name for name in names), *list_media_files(root)}):
        folder = path.relative_to(root).parts[0]
        official: Split | None = "test" if str(path.relative_to(root)) in names else None
        people = re.findall(r"id\d+", path.stem)
        if folder == "Celeb-synthesis" and len(people) == 2:
            original = root / "Celeb-real" / f"{people[0]}_{path.stem.split('_')[-1]}{path.suffix}"
            yield Entry(path, "fake", _celeb_identities(people), "celeb-df", "celeb-df", original, official)
        elif folder in ("Celeb-real", "YouTube-real"):
            yield Entry(
                path,
                "real",
                _celeb_identities(people or [f"youtube{path.stem}"]),
                "celeb-df",
                "",
                None,
                official,
            )


def _celeb_identities(people: list[str]) -> frozenset[str]:
    return frozenset(f"celeb-df:{person}" for person in people)


def _is_plain(root: Path) -> bool:
    return (root / "real").is_dir() or (root / "fake").is_dir()


def _read_plain(root: Path) -> Iterator[Entry]:
    """Read `real/` and `fake/` folders, with one folder per person, or one person per file name.

    The original of a fake is the real file of the same name, or of the name before its first "__".
    """
    originals = {
        path.relative_to(root / "real").with_suffix(""): path for path in list_media_files(root / "real")
    }
    for label in ("real", "fake"):
        for path in list_media_files(root / label):
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


def _read_listed(root: Path) -> Iterator[Entry]:
    """Read real photos or videos from a list with their person, and optionally their split.

    Raises DatasetError for a split of another name: its people would be spread over all of them.
    """
    with (root / "manifest.csv").open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if not {"file", "identity"} <= row.keys():
                raise DatasetError(f"{root}/manifest.csv: the columns file and identity are missing")
            split = row.get("split") or None
            if split is not None and split not in SPLITS:
                raise DatasetError(
                    f"{root}/manifest.csv, line {reader.line_num}: split: got {split!r}, "
                    f"expected {', '.join(SPLITS)} or nothing"
                )
            source = row.get("source_repo") or row.get("source") or root.name
            people = frozenset({f"{root.name}:{row['identity']}"})
            yield Entry(root / row["file"], "real", people, source, official_split=split)


_LAYOUTS: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], Iterator[Entry]]], ...] = (
    ("FaceForensics++", _is_ffpp, _read_ffpp),
    ("DFDC", _is_dfdc, _read_dfdc),
    ("Celeb-DF", _is_celeb, _read_celeb),
    ("real and fake folders", _is_plain, _read_plain),
    ("real people, listed", _is_listed, _read_listed),
)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON: {error}") from error


def _read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
