"""Ids and names in a COCO superset that don't tell things apart."""

import json

import pytest
from onetrunk.datasets import DataError, open_dataset

BOX = [1, 1, 6, 5]


@pytest.fixture
def make(tmp_path, draw):
    """Writes a file of pictures with these ids, in order 0.png and so on, and returns the folder."""

    def make(*ids, **more):
        images = []
        for place, number in enumerate(ids):
            draw(tmp_path / "set" / "images" / f"{place}.png", height=8, width=10, seed=place)
            images.append({"id": number, "file_name": f"{place}.png", "height": 8, "width": 10})
        path = tmp_path / "set" / "annotations" / "superset.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"images": images, **more}))
        return tmp_path / "set"

    return make


@pytest.mark.parametrize(
    ("category", "kinds", "message"),
    [
        (
            {"id": 3, "name": "star"},
            ("objects", "masks", "boxes", "captions"),
            r"superset\.json: the categories 'square' and 'star' have the same id, 3, so annotations don't tell which",
        ),
        (
            {"id": 9, "name": "circle"},
            ("objects", "masks"),
            r"superset\.json: 2 categories are called 'circle', with the ids 1, 9\. Keep one, and give their annotati",
        ),
    ],
)
def test_categories_of_one_id_or_one_name_are_refused(make, category, kinds, message):
    categories = [{"id": 3, "name": "square"}, {"id": 1, "name": "circle"}, category]
    annotations = [{"id": 5, "image_id": 0, "category_id": 3, "bbox": BOX, "segmentation": [[1, 1, 7, 1, 7, 6]]}]
    captions, labels = [{"image_id": 0, "caption": "a square"}], [{"image_id": 0, "label": "square", "bbox": BOX}]
    root = make(0, categories=categories, annotations=annotations, captions=captions, labels=labels)
    for kind in kinds:
        with pytest.raises(DataError, match=message):
            open_dataset(root, "all", kind=kind)


def test_a_text_and_a_number_are_two_ids(make):
    root = make(0, 1, captions=[{"image_id": "1", "caption": "a square"}])
    message = (
        r"superset\.json: 'captions' has entries of image '1' \(text\), and the list of images has 1 \(a number\)\. A "
        r"number and a text are two ids, even if they look alike: write both in one way\."
    )
    with pytest.raises(DataError, match=message):
        open_dataset(root, "all", kind="captions")


def test_texts_are_ids_too(make):
    root = make("0", "1", captions=[{"image_id": "1", "caption": "a square"}])
    assert [record.name for record in open_dataset(root, "all", kind="captions").records] == ["images/1.png"]


def test_pictures_whose_ids_look_alike_are_refused(make):
    labels = [{"image_id": number, "label": "a"} for number in (1, "1", "01")]
    with pytest.raises(DataError, match=r"there are images with the ids 1 as text and as number, which look alike\. G"):
        open_dataset(make(1, "1", "01", labels=labels), "all", kind="labels")


def test_an_id_may_be_what_another_picture_is_called(make):
    labels = [{"image_id": "images/1.png", "label": "a"}, {"image_id": 1, "label": "b"}]
    data = open_dataset(make("images/1.png", 1, labels=labels), "all", kind="labels")
    assert [record.targets["label"] for record in data.records] == ["a", "b"]


def test_a_blank_label_is_no_class(make):
    with pytest.raises(DataError, match=r"labels\[0\]\.label is '  '; it has to be the name of a class, text that"):
        open_dataset(make(0, labels=[{"image_id": 0, "label": "  "}]), "all", kind="labels")
