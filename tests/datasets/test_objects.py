"""What is known of the objects of a picture, and what a sample makes of it."""

from pathlib import Path

import pytest
import torch
from onetrunk.datasets import (
    DataError,
    Objects,
    Record,
    ResumableLoader,
    SampleDataset,
    eval_transform,
    find_bad_images,
)
from onetrunk.datasets.objects import encode_objects, note_objects, settle_objects
from PIL import Image

SIZE = (40, 56)

#: A cat, a dog that is ignored, a cat without an area, and a dog over the edge.
MIXED = Objects(
    boxes=((4, 8, 20, 16), (0, 0, 8, 8), (5, 5, 5, 9), (40, 20, 60, 44)),
    names=("cat", "dog", "cat", "dog"),
    ignored=(False, True, False, False),
    areas=(100.5, 64, 0, 320),
    sets=(7, 0, 4, 6),
    places=("annotation 7", "annotation 8", "annotation 9", "annotation 10"),
    source="a.json",
)


def _record(path: Path, objects: Objects) -> Record:
    return Record(path, {"objects": objects, "labels": objects.labels}, path.name)


def test_objects_without_an_area_are_told_from_sound_and_from_learned_ones():
    assert (len(MIXED), MIXED.sound, MIXED.unsound, MIXED.learned) == (4, (0, 1, 3), (2,), (0, 3))
    assert MIXED.labels == ("cat", "dog")
    assert MIXED.faults() == [
        "a.json: annotation 9 ('cat'): the box 5, 5, 5, 9 has no area; xmax has to be above xmin, and ymax above ymin."
    ]
    assert Objects().labels == Objects().sound == ()
    assert Objects(((0, 0, 1, 1),), ("cat",), (True,)).labels == ()


def test_areas_are_the_annotation_s_or_those_of_boxes_and_places_are_counted_from_one():
    bare = Objects(((0, 0, 4, 2),), ("cat",), source="a.txt")
    assert (MIXED.area(0), bare.area(0)) == (100.5, 8)
    assert bare.where(0) == "a.txt: object 1 ('cat')"


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (
            Objects(source="a.xml", size=(41, 56)),
            "a.xml: it is for a picture of 56 x 41 pixels, and this one has 56 x 40,",
        ),
        (
            Objects(source="a.xml", size=(56, 40)),
            "It is that of the picture as it is stored, before its EXIF rotation.",
        ),
        (
            Objects(((40, 0, 80, 8),), ("cat",), source="a.xml"),
            "a.xml: object 1 ('cat'): the box 40, 0, 80, 8 is more than half outside of the picture of 56 x 40 pixels.",
        ),
    ],
)
def test_objects_of_another_picture_are_named(objects, words):
    assert words in objects.misfit(SIZE)


def test_boxes_over_the_edge_and_without_an_area_fit():
    assert MIXED.misfit(SIZE) is None
    assert Objects(size=SIZE).misfit(SIZE) is None


def test_a_fingerprint_follows_what_is_known_not_where_it_stands():
    assert "source" not in MIXED.identity() and "places" not in MIXED.identity()
    regions = Objects(((0, 0, 4, 2),), ("cat",), regions=([[0, 0, 4, 0, 4, 2]],))
    assert regions.without_regions().identity() == Objects(((0, 0, 4, 2),), ("cat",)).identity() != regions.identity()


def test_notes_count_negatives_and_name_three_boxes_without_an_area(tmp_path):
    flat = Objects(((1, 1, 1, 1),) * 2, ("cat",) * 2, source="b.txt")
    assert note_objects(tmp_path, {"": [_record(tmp_path / "a.png", Objects(((0, 0, 1, 1),), ("cat",)))]}) == []
    assert note_objects(tmp_path, {"": [_record(tmp_path / "a.png", MIXED)], "val": []}) == [
        f"{tmp_path}: 1 box without an area was left out: a.json: annotation 9 ('cat')."
    ]
    records = [_record(tmp_path / "a.png", one) for one in (MIXED, flat, flat, Objects())]
    assert note_objects(tmp_path, {"train": records[:2], "val": records[2:]}) == [
        f"{tmp_path}: 3 images without an object stay, as nothing to be found is something to learn.",
        f"{tmp_path}: 5 boxes without an area were left out: a.json: annotation 9 ('cat'), b.txt: object 1 ('cat'), "
        "b.txt: object 2 ('cat') and 2 more.",
    ]


def test_an_ignored_object_may_be_of_a_class_that_nobody_learns():
    encoded = encode_objects(MIXED, {"cat": 0})
    assert encoded["classes"].tolist() == [0, -1, -1]


def test_what_was_moved_off_the_canvas_is_counted_and_ignored_objects_are_not():
    targets = encode_objects(MIXED, {"cat": 0, "dog": 1})
    settled = settle_objects({**targets, "boxes": torch.tensor([[3.0, 3, 3.5, 9], [0, 0, 0, 0], [1, 2, 3, 4]])})
    assert (settled["boxes"].tolist(), settled["classes"].tolist()) == ([[1, 2, 3, 4]], [1])
    assert settled["dropped"] == 1
    assert settled.keys() == {"boxes", "classes", "dropped"}, "in training nothing is kept of the whole picture"


@pytest.fixture
def turned(tmp_path, draw):
    """A JPEG stored with 56 x 40 pixels that is 40 wide and 56 high."""
    picture = Image.open(draw(tmp_path / "plain.png", *SIZE))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    return tmp_path / "turned.jpg"


def _load(records, canvas):
    dataset = SampleDataset(records, eval_transform(canvas, mode="pad"), classes=("cat", "dog"))
    (batch,) = ResumableLoader(dataset, batch_size=len(records))
    return batch


def test_samples_hold_what_is_learned_on_the_canvas_and_everything_in_pixels_of_the_file(tmp_path, draw):
    draw(tmp_path / "a.png", *SIZE)
    draw(tmp_path / "b.png", *SIZE, seed=1)
    batch = _load([_record(tmp_path / "a.png", MIXED), _record(tmp_path / "b.png", Objects())], (30, 28))
    mixed, bare = ({key: values[place] for key, values in batch.targets.items()} for place in (0, 1))
    assert mixed["boxes"].tolist() == [[2, 4, 10, 8], [20, 10, 28, 20]], "half as large, and cut at the edge"
    assert (mixed["classes"].tolist(), mixed["dropped"], mixed["labels"].tolist()) == ([0, 1], 0, [1, 1])
    assert mixed["full_boxes"].tolist() == [[4, 8, 20, 16], [0, 0, 8, 8], [40, 20, 60, 44]], "as COCO measures them"
    assert mixed["full_classes"].tolist() == [0, 1, 1]
    assert mixed["full_ignored"].tolist() == [False, True, False]
    assert mixed["full_areas"].tolist() == [100.5, 64, 320]
    assert mixed["full_sets"].tolist() == [7, 0, 6]
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in bare.items()}
    assert shapes == {
        "labels": ((2,), torch.float32),
        "boxes": ((0, 4), torch.float32),
        "classes": ((0,), torch.int64),
        "dropped": ((), torch.int64),
        "full_boxes": ((0, 4), torch.float32),
        "full_classes": ((0,), torch.int64),
        "full_ignored": ((0,), torch.bool),
        "full_areas": ((0,), torch.float64),
        "full_sets": ((0,), torch.int64),
    }
    assert {key for key, values in batch.targets.items() if isinstance(values, list)} == shapes.keys() - {
        "labels",
        "dropped",
    }


def test_boxes_are_those_of_the_upright_picture(turned):
    upright = Objects(((0, 28, 40, 56),), ("dog",), source="a.xml", size=(56, 40))
    batch = _load([_record(turned, upright)], (28, 28))
    assert batch.context.original_sizes.tolist() == [[56, 40]]
    assert batch.targets["boxes"][0].tolist() == [[0, 14, 20, 28]]
    assert batch.targets["full_boxes"][0].tolist() == [[0, 28, 40, 56]]


def test_objects_of_another_picture_make_a_bad_sample_and_are_found_before(turned):
    stored = _record(turned, Objects(((0, 0, 20, 20),), ("cat",), source="a.xml", size=SIZE))
    outside = _record(turned, Objects(((39, 0, 56, 20),), ("cat",), source="b.xml"))
    sound = _record(turned, Objects(((0, 0, 1, 1), (2, 2, 2, 2)), ("cat", "cat")))
    batch = _load([stored, outside, sound], (28, 28))
    assert batch.names == ["turned.jpg"]
    found = find_bad_images([stored, outside, sound])
    assert [bad.index for bad in batch.skipped] == [bad.index for bad in found] == [0, 1]
    for bad in (batch.skipped, found):
        with pytest.raises(DataError, match=r"56 x 40 pixels, and this one has 40 x 56, .* before its EXIF rotation"):
            raise DataError(bad[0].reason)
        with pytest.raises(
            DataError, match=r"b\.xml: object 1 \('cat'\): the box 39, 0, 56, 20 is more than half outs"
        ):
            raise DataError(bad[1].reason)
