"""Official layouts of datasets, rebuilt from a few empty files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.datasets.layouts import Entry, read_layout

pytestmark = pytest.mark.fast


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def by_name(root: Path) -> tuple[str, dict[str, Entry]]:
    layout, entries = read_layout(root)
    return layout, {str(entry.path.relative_to(root)): entry for entry in entries}


def test_faceforensics(tmp_path: Path) -> None:
    methods = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
    for stored in ("raw", "c23", "c40"):
        touch(
            tmp_path, *(f"original_sequences/youtube/{stored}/videos/{n}.mp4" for n in ("000", "003", "555"))
        )
        touch(tmp_path, *(f"manipulated_sequences/{m}/{stored}/videos/000_003.mp4" for m in methods))
    touch(
        tmp_path,
        "original_sequences/actors/c23/videos/01__kitchen_pan.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_pan__7XUW13RW.mp4",
        "original_sequences/youtube/c23/masks/000.mp4",
    )
    (tmp_path / "splits").mkdir()
    for split, pairs in (("train", [["000", "003"]]), ("val", [["555", "666"]]), ("test", [["777", "888"]])):
        (tmp_path / "splits" / f"{split}.json").write_text(json.dumps(pairs))
    layout, found = by_name(tmp_path)
    assert layout == "FaceForensics++" and len(found) == 3 * (3 + 5) + 2
    fake = found["manipulated_sequences/Face2Face/c40/videos/000_003.mp4"]
    assert (fake.label, fake.source, fake.manipulation) == ("fake", "ffpp/Face2Face/c40", "Face2Face")
    assert fake.identities == {"ffpp:000", "ffpp:003"} and fake.official_split == "train"
    assert fake.original == tmp_path / "original_sequences/youtube/c40/videos/000.mp4"
    raw = found["original_sequences/youtube/raw/videos/555.mp4"]
    assert (raw.label, raw.source, raw.official_split) == ("real", "ffpp/youtube/c0", "val")
    acted = found["manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_pan__7XUW13RW.mp4"]
    assert acted.identities == {"ffpp:actor01", "ffpp:actor02"} and acted.official_split is None
    assert acted.original == tmp_path / "original_sequences/actors/c23/videos/01__kitchen_pan.mp4"


def test_dfdc(tmp_path: Path) -> None:
    metadata = {
        "real.mp4": {"label": "REAL", "split": "train", "original": None},
        "fake.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
        "gone.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
    }
    touch(tmp_path, "dfdc_train_part_0/real.mp4", "dfdc_train_part_0/fake.mp4")
    (tmp_path / "dfdc_train_part_0" / "metadata.json").write_text(json.dumps(metadata))
    layout, found = by_name(tmp_path)
    assert layout == "DFDC" and set(found) == {f"dfdc_train_part_0/{name}" for name in metadata}
    fake = found["dfdc_train_part_0/fake.mp4"]
    assert fake.label == "fake" and fake.identities == {"dfdc:real"}
    assert fake.original == tmp_path / "dfdc_train_part_0/real.mp4"
    assert all(entry.official_split is None for entry in found.values())  # one word for all splits nothing


def test_celeb_df(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id1_0000.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "YouTube-real/00007.mp4",
    )
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00007.mp4\n0 Celeb-real/id9_0009.mp4\n"
    )
    layout, found = by_name(tmp_path)
    assert layout == "Celeb-DF" and len(found) == 5  # the listed one that is not there, too
    fake = found["Celeb-synthesis/id0_id1_0000.mp4"]
    assert fake.identities == {"celeb-df:id0", "celeb-df:id1"} and fake.official_split is None
    assert fake.original == tmp_path / "Celeb-real/id0_0000.mp4"
    assert found["YouTube-real/00007.mp4"].official_split == "test"
    assert found["YouTube-real/00007.mp4"].identities == {"celeb-df:youtube00007"}


def test_plain_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "real/anna/1.mp4",
        "real/2.jpg",
        "fake/anna/1.mp4",
        "fake/2__swap.png",
        "fake/3.mp4",
        "real/notes.txt",
    )
    layout, found = by_name(tmp_path)
    assert layout == "real and fake folders" and len(found) == 5
    name = tmp_path.name
    assert found["fake/anna/1.mp4"].identities == {f"{name}:anna"} == found["real/anna/1.mp4"].identities
    assert found["fake/anna/1.mp4"].original == tmp_path / "real/anna/1.mp4"
    assert found["fake/2__swap.png"].original == tmp_path / "real/2.jpg"
    assert found["fake/3.mp4"].original is None


LISTED = """file,identity,width,height,resized,source_repo,source_path,commit,licence,split
images/a/1.jpg,id0001,300,400,0,someone/site,img/1.jpg,0123abcd,"CC BY 4.0, LICENSE",train
images/a/2.jpg,id0002,300,400,0,someone/site,img/2.jpg,0123abcd,CC0,transfer
images/b/3.jpg,id0003,300,400,1,other/site,img/3.jpg,0123abcd,CC0,
"""


def test_a_list_of_photos_keeps_its_people_splits_and_sources(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("\ufeff" + LISTED)  # as a spreadsheet saves it
    layout, found = by_name(tmp_path)
    assert layout == "real people, listed" and len(found) == 3
    name = tmp_path.name
    assert found["images/a/2.jpg"].identities == {f"{name}:id0002"}
    assert [entry.official_split for entry in found.values()] == ["train", "transfer", None]
    assert [entry.source for entry in found.values()] == ["someone/site", "someone/site", "other/site"]
    assert {entry.label for entry in found.values()} == {"real"}


def test_an_unknown_split_is_refused_in_place_of_training_on_it(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(LISTED.replace(",transfer\n", ",holdout\n"))
    with pytest.raises(
        DatasetError, match="line 3: split: got 'holdout', expected train, val, test, transfer"
    ):
        read_layout(tmp_path)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a.mp4")
    with pytest.raises(DatasetError, match="no known layout"):
        read_layout(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        read_layout(tmp_path / "missing")
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(DatasetError, match=r"metadata\.json: cannot be read"):
        read_layout(tmp_path)
