import json

import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset
from onetrunk.datasets.karpathy import read_karpathy


def _image(name, split, *captions, **more):
    return {"filename": name, "split": split, "sentences": [{"raw": text} for text in captions], **more}


@pytest.fixture
def make(tmp_path, draw):
    """Writes a JSON file, and the pictures of its images."""

    def make(images, name="dataset_coco.json", pictures="images"):
        root = tmp_path / "data"
        root.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps({"images": images, "dataset": "coco"}))
        for seed, image in enumerate(images):
            if isinstance(image, dict) and "filename" in image:
                draw(root / pictures / image.get("filepath", "") / str(image["filename"]), height=8, width=8, seed=seed)
        return root

    return make


IMAGES = [
    _image("a.jpg", "test", "A cat .", "x", filepath="val2014", cocoid=391895),
    _image("b.jpg", "restval", "b", filepath="val2014", cocoid=2),
    _image("c.jpg", "train", "c", filepath="train2014", cocoid=3),
    _image("d.jpg", "val", "d", filepath="val2014", cocoid=4),
]


@pytest.mark.parametrize("pictures", ["", "images"])
def test_splits_are_those_of_the_file_and_restval_is_trained_on(make, pictures):
    root = make(IMAGES, pictures=pictures)
    test = open_dataset(root, "test", kind="captions")
    assert test.records[0].targets == {"captions": ("A cat .", "x"), "image_id": 391895}
    assert test.records[0].name == f"{pictures}/val2014/a.jpg".lstrip("/")
    assert [record.path.name for record in test.select("train").records] == ["c.jpg", "b.jpg"]
    assert all(record.path.is_file() for record in test.everything)
    assert (test.format, test.split_origin, guess_kind(root)) == ("karpathy", "file", "captions")
    assert test.notes == (f"{root / 'dataset_coco.json'}: 1 images of 'restval' count as 'train', as they usually do.",)


def test_the_file_itself_may_be_given_and_lie_among_annotations(make):
    root = make(IMAGES)
    (root / "annotations").mkdir()
    path = (root / "dataset_coco.json").rename(root / "annotations" / "dataset_coco.json")
    by_file, by_folder = (open_dataset(each, "all", kind="captions") for each in (path, root))
    assert by_file.records == by_folder.records
    assert by_file.records[0].name == "images/train2014/c.jpg"
    assert guess_kind(path) == "captions"


def test_flickr_s_files_have_neither_folders_nor_ids(make):
    root = make([_image("1.jpg", "train", "a"), _image("2.jpg", "val", "b")], "dataset_flickr8k.json", "Images")
    data = open_dataset(root, "train", kind="captions")
    assert (data.records[0].targets, data.notes) == ({"captions": ("a",)}, ())


def test_its_splits_count_where_other_captions_lie_beside_it(make):
    root = make([_image("1.jpg", "train", "a"), _image("2.jpg", "val", "b")])
    (root / "captions.txt").write_text("image,caption\n1.jpg,a\n2.jpg,b\n")
    data = open_dataset(root, "val", kind="captions")
    assert data.format == "karpathy"
    assert data.notes == (
        f"{root}: it holds captions in more than one layout; read is 'karpathy', not read 'flickr'. The path of a file "
        "chooses another.",
    )
    assert open_dataset(root / "captions.txt", "all", kind="captions").format == "flickr"


def test_what_is_empty_is_left_out_and_named(make):
    contents = read_karpathy(make([_image("1.jpg", "train", "a", " "), _image("2.jpg", "train", "")]))
    assert [record.path.name for record in contents.splits["train"]] == ["1.jpg"]
    assert "2 empty captions were left out: image 0, sentence 1 (images/1.jpg), image 1, sent" in contents.notes[0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (_image("1.jpg", "trian", "a"), r"image 1 \(1.jpg\): the split 'trian' isn't one of train, val, test, restval"),
        (_image("0.jpg", "train", "a"), "image 1: '0.jpg' is there twice"),
        (_image("", "train", "a"), "image 1: 'filename' is text, not ''"),
        ({"filename": "1.jpg", "split": "val"}, "image 1: 'sentences' is a list, not None"),
        (_image("1.jpg", "train", 5), "image 1, sentence 0: it has no text 'raw'"),
        (7, "can't be read as captions with splits .TypeError: images is no list of objects"),
    ],
)
def test_what_is_wrong_is_said_with_its_image(make, image, message):
    root = make([_image("0.jpg", "train", "a")])
    path = root / "dataset_coco.json"
    path.write_text(json.dumps({"images": [_image("0.jpg", "train", "a"), image]}))
    with pytest.raises(DataError, match=message):
        open_dataset(root, "train", kind="captions")


def test_a_folder_without_any_picture_is_refused(make):
    root = make([_image("0.jpg", "train", "a")], pictures="elsewhere")
    with pytest.raises(
        DataError, match=r"none of its 1 images exists.* Pictures are looked for beside the file, in image"
    ):
        open_dataset(root, "train", kind="captions")


def test_of_several_files_one_has_to_be_chosen(make):
    root = make(IMAGES)
    make(IMAGES, "dataset_flickr8k.json")
    with pytest.raises(
        DataError, match=r"2 files hold captions and splits: dataset_coco\.json, dataset_flickr8k\.json\. Give"
    ):
        open_dataset(root, "train", kind="captions")
    assert len(open_dataset(root / "dataset_flickr8k.json", "all", kind="captions")) == 4
