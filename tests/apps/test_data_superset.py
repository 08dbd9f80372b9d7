"""What a person sees of a check of a COCO superset."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.apps.cli import main
from PIL import Image

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def superset(tmp_path: Path) -> Callable[..., Path]:
    """Writes four pictures with annotations of every kind, and changes to them; the third picture can't be read."""

    def write(**changes: object) -> Path:
        root = tmp_path / "shapes"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "images").mkdir(exist_ok=True)
        for number in range(4):
            Image.new("RGB", (40, 30), (60 * number, 90, 200)).save(root / "images" / f"{number}.png")
        (root / "images" / "2.png").write_bytes(b"")
        box = {"bbox": [5, 5, 20, 20], "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]]}
        plain = {
            "images": [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in range(4)],
            "categories": [{"id": 1, "name": "ball"}, {"id": 2, "name": "box"}],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1 + number % 2, **box} for number in range(4)
            ],
            "captions": [{"id": number, "image_id": number, "caption": f"picture {number}"} for number in range(4)],
            "qa": [
                {"id": number, "image_id": number, "question": "what is it?", "answers": ["a ball"]}
                for number in range(4)
            ],
            "labels": [
                {"image_id": number, "label": ("ball", "box")[number % 2], "bbox": box["bbox"]} for number in range(4)
            ],
        }
        (root / "annotations" / "superset_train.json").write_text(json.dumps(plain | changes))
        return root

    return write


def check(data: Path, *words: str) -> int:
    return main(["data", "check", "--data", str(data), *words])


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        ("labels", "4 images, 2 classes"),
        ("masks", "4 images, 3 classes"),
        ("boxes", "4 images, 2 classes"),
        ("objects", "4 images, 2 classes"),
        ("captions", "4 images, 4 captions"),
        ("questions", "4 images, 4 questions"),
    ],
)
def test_every_kind_is_checked_and_its_bad_picture_named(
    superset: Callable[..., Path], capsys: Captured, kind: str, counted: str
) -> None:
    root = superset()
    assert check(root, "--kind", kind) == 2
    printed = capsys.readouterr()
    assert f"{counted} (split: seeded 0.2 of train, seed 0), read for its {kind}" in printed.out
    assert f"{root}/images/2.png: the file is empty" in printed.out
    assert "1 error, see the report" in printed.err


def test_it_is_taken_for_labels_where_there_are_some(superset: Callable[..., Path], capsys: Captured) -> None:
    assert check(superset()) == 2
    assert "read for its labels" in capsys.readouterr().out


def test_what_breaks_the_schema_is_one_message(superset: Callable[..., Path], capsys: Captured) -> None:
    root = superset(images=[{"id": 1, "file_name": "1.png", "width": "wide", "height": 30}])
    for words in ([], ["--kind", "captions"]):
        assert check(root, *words) == 2
        message = f"{root}/annotations/superset_train.json: images[0].width is 'wide'; it has to be a whole number of "
        assert message in capsys.readouterr().err


def test_faults_are_all_named(superset: Callable[..., Path], capsys: Captured) -> None:
    captions = [{"id": number, "image_id": number, "caption": "a"} for number in (0, 1, 3, 7, 8)]
    images = [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in (0, 1, 3)]
    root = superset(captions=captions, images=[*images, images[0]])
    assert check(root, "--kind", "captions") == 2
    printed = capsys.readouterr()
    assert (
        "superset_train.json: 'captions' has entries of images that aren't in the list of images: 7, 8." in printed.out
    )
    assert "superset_train.json: image 0, images/0.png, is there twice." in printed.out
    assert "2 errors, see the report" in printed.err
