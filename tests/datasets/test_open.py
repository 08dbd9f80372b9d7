import shutil

import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset, write_split
from onetrunk.datasets.image_folder import read_image_folder
from onetrunk.datasets.table import read_table


def _names(data):
    return [record.name for record in data.records]


@pytest.mark.parametrize("asked", ["all", "All"])
def test_all_is_every_record_of_every_split_in_their_order(tmp_path, pets, asked):
    root = shutil.copytree(pets, tmp_path / "pets")
    shutil.copytree(root / "val", root / "test")
    data = open_dataset(root, asked)
    parts = [_names(open_dataset(root, split)) for split in ("train", "val", "test")]
    assert _names(data) == [name for part in parts for name in part]
    assert (data.split, data.split_origin, len(data)) == ("all", "all", 23 + 5 + 5)
    assert data.class_counts() == {"cat": 12 + 3 + 3, "dog": 11 + 2 + 2}
    assert tuple(data.splits) == ("train", "val", "test")
    assert data.select("val") == open_dataset(root, "val")
    assert open_dataset(root, "test").select("all") == data
    assert data.fingerprint() != data.select("train").fingerprint()


def test_all_of_an_unsplit_folder_is_not_cut(tmp_path, unsplit_pets):
    data = open_dataset(unsplit_pets, "all")
    assert _names(data) == sorted(_names(data))
    assert data.class_counts() == {"cat": 10, "dog": 5, "eel": 2}
    assert (data.classes, data.split_origin) == (("cat", "dog", "eel"), "all")
    assert open_dataset(unsplit_pets, "train").select("all") == data
    assert data.select("train").split_origin == "seeded 0.2 of everything, seed 0"
    shutil.copytree(unsplit_pets, tmp_path / "train")
    assert _names(open_dataset(tmp_path, "all")) == ["train/" + name for name in _names(data)]


def test_all_of_a_folder_without_pairs_is_taken(tmp_path, draw):
    draw(tmp_path / "cat" / "a.png")
    draw(tmp_path / "dog" / "a.png")
    assert _names(open_dataset(tmp_path, "all")) == ["cat/a.png", "dog/a.png"]


def test_all_of_a_split_file_follows_the_file_and_leaves_the_unlisted_out(tmp_path, pets):
    chosen = {
        "val/cat/00.jpg": "train",
        "train/cat/00.jpg": "train",
        "val/dog/00.jpg": "test",
        "train/dog/00.jpg": "val",
    }
    rows = ["name,split", *(f"{name},{split}" for name, split in chosen.items())]
    (tmp_path / "split.csv").write_text("\n".join(rows))
    data = open_dataset(pets, "all", split_file=tmp_path / "split.csv")
    assert _names(data) == ["train/cat/00.jpg", "val/cat/00.jpg", "train/dog/00.jpg", "val/dog/00.jpg"]
    assert data.split_origin == "all"
    assert data.select("train").split_origin == "file"
    assert any("24 images aren't listed in" in note for note in data.notes)


def test_within_a_split_of_a_file_records_are_sorted_by_name_wherever_they_lie(tmp_path, pets):
    root = shutil.copytree(pets, tmp_path / "pets")
    (root / "val").rename(root / "test")
    (tmp_path / "split.csv").write_text("name,split\ntrain/cat/00.jpg,val\ntest/cat/00.jpg,val\n")
    data = open_dataset(root, "val", split_file=tmp_path / "split.csv")
    assert _names(data) == ["test/cat/00.jpg", "train/cat/00.jpg"]


@pytest.mark.parametrize("split", ["train", "all"])
def test_a_split_file_without_rows_is_refused(tmp_path, pets, split):
    (tmp_path / "split.csv").write_text("name,split\n")
    with pytest.raises(DataError, match=rf"'{split}'"):
        open_dataset(pets, split, split_file=tmp_path / "split.csv")


def test_a_folder_called_all_is_a_class(tmp_path, draw):
    for name in ("all", "none"):
        draw(tmp_path / name / "a.png")
        draw(tmp_path / name / "b.png")
    assert open_dataset(tmp_path, "train").classes == ("all", "none")


def test_an_unsplit_folder_is_cut_by_a_seed_with_every_class_on_both_sides(unsplit_pets):
    train = open_dataset(unsplit_pets, "train")
    val = train.select("val")
    assert train.class_counts() == {"cat": 8, "dog": 4, "eel": 1}
    assert val.class_counts() == {"cat": 2, "dog": 1, "eel": 1}
    assert train.split_origin == "seeded 0.2 of everything, seed 0"
    assert open_dataset(unsplit_pets, "train") == train
    assert open_dataset(unsplit_pets, "train", split_seed=1).records != train.records
    assert len(open_dataset(unsplit_pets, "val", val_fraction=0.5)) == 5 + 2 + 1


def test_val_is_cut_from_train_and_test_stays_whole(tmp_path, unsplit_pets):
    shutil.copytree(unsplit_pets, tmp_path / "train")
    shutil.copytree(unsplit_pets, tmp_path / "test")
    data = open_dataset(tmp_path, "test")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 13, "val": 4, "test": 17}
    assert data.split_origin == "seeded 0.2 of train, seed 0"
    assert all(record.name.startswith("train/") for record in data.splits["val"])


def test_a_run_finds_its_split_again_after_files_were_added(tmp_path, unsplit_pets, draw):
    root = shutil.copytree(unsplit_pets, tmp_path / "data")
    before = open_dataset(root, "val", split_seed=7)
    write_split(tmp_path / "split.csv", before.splits)
    draw(root / "cat" / "new.png")
    after = open_dataset(root, "val", split_file=tmp_path / "split.csv")
    assert after.records == before.records
    assert after.select("train").records == before.select("train").records
    assert (after.split_origin, after.fingerprint()) == ("file", before.fingerprint())
    assert any("1 images aren't listed in" in note for note in after.notes)


def test_a_split_file_for_other_data_is_refused(tmp_path, unsplit_pets, pets):
    write_split(tmp_path / "split.csv", open_dataset(pets, "train").splits)
    with pytest.raises(DataError, match=r"split\.csv: 28 of the 28 images it lists aren't in the data set"):
        open_dataset(unsplit_pets, "train", split_file=tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("test", "there is no split 'test'; there are: train, val; 'all' takes every image\\.$"),
        ("vall", "there is no split 'vall'; there are: train, val; 'all' .* Did you mean 'val'"),
        ("alll", "there is no split 'alll'; .* Did you mean 'all'"),
    ],
)
def test_a_split_that_is_not_there_is_refused(pets, split, words):
    with pytest.raises(DataError, match=words):
        open_dataset(pets, split)


def test_an_empty_split_is_refused(tmp_path, draw):
    draw(tmp_path / "cat" / "a.png")
    draw(tmp_path / "dog" / "a.png")
    with pytest.raises(DataError, match="the split 'val' is empty; a class is cut from two images on"):
        open_dataset(tmp_path, "val")


def test_a_path_that_is_not_there_is_refused_with_the_nearest(pets):
    with pytest.raises(DataError, match=r"pet: there is no such file or folder\. Did you mean 'pets'"):
        open_dataset(pets.with_name("pet"), "train")
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(pets / "no" / "where", "train")


def test_a_file_that_is_no_table_is_refused(pets):
    with pytest.raises(DataError, match=r"00\.jpg: a data set is a folder or a table \(\.csv, .*holds 12 pictures"):
        open_dataset(pets / "train" / "cat" / "00.jpg", "train")


def test_a_table_or_folder_that_can_not_be_read_is_refused(pets, tmp_path):
    with pytest.raises(DataError, match="the table can't be read"):
        read_table(pets)
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match="the folder can't be read"):
        read_image_folder(tmp_path / "a.csv")


def test_images_of_no_class_at_all_are_refused(tmp_path, draw):
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    (tmp_path / "tags.csv").write_text("path,labels\na.png,\nb.png,\n")
    with pytest.raises(DataError, match=r"tags\.csv: no image has a label, .*no classes to tell apart"):
        open_dataset(tmp_path / "tags.csv", "all")


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("path,label", "labels"),
        ("path,labels", "labels"),
        ("path,mask,label", "masks"),
        ("path,label,xmin,ymin,xmax,ymax", "objects"),
        ("path,caption", "captions"),
        ("image,captions", "captions"),
        ("path,caption,label", "labels"),
        ("path,question,answer", "questions"),
        ("image,question,answers", "questions"),
    ],
)
def test_the_kind_of_a_table_is_guessed_by_its_columns(tmp_path, header, kind):
    (tmp_path / "t.csv").write_text(header + "\n")
    assert guess_kind(tmp_path / "t.csv") == kind


def test_the_kind_of_a_folder_is_guessed_by_what_lies_in_it(tmp_path, pets, draw):
    assert guess_kind(pets) == guess_kind(tmp_path) == guess_kind(tmp_path / "none.csv") == "labels"
    (tmp_path / "note.json").write_text("[]")
    assert guess_kind(tmp_path) == guess_kind(tmp_path / "note.json") == "labels"
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "a_mask.png")
    assert guess_kind(tmp_path) == "masks"


@pytest.mark.parametrize("kind", ["masks", "boxes", "objects", "captions", "questions"])
def test_a_path_that_is_not_there_is_refused_for_every_kind(pets, kind):
    with pytest.raises(DataError, match=r"pet: there is no such file or folder\. Did you mean 'pets'"):
        open_dataset(pets.with_name("pet"), "train", kind=kind)
    with pytest.raises(DataError, match=r"00\.jpg: a data set is a folder or a table"):
        open_dataset(pets / "train" / "cat" / "00.jpg", "train", kind=kind)


def test_masks_are_cut_with_every_class_on_both_sides_and_into_folds(make_pairs):
    root = make_pairs("images/{}.png", "masks/{}.png", tuple("abcdefghij"))
    data = open_dataset(root, "train", kind="masks")
    assert (len(data), len(data.select("val"))) == (8, 2)
    assert data.fingerprint() == open_dataset(root, "train", kind="masks").fingerprint()
    fold = data.with_fold(2, folds=5, seed=1)
    assert (len(fold), len(fold.select("val")), fold.classes) == (8, 2, ("0", "1", "2"))


def test_objects_are_found_in_yolo_s_and_wider_s_folders(tmp_path, draw):
    yolo = tmp_path / "yolo"
    for seed, name in enumerate("ab"):
        draw(yolo / "images" / f"{name}.png", seed=seed)
        (yolo / "labels").mkdir(exist_ok=True)
        (yolo / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (yolo / "data.yaml").write_text("train: images\nnames: [cat]\n")
    for path in (yolo, yolo / "data.yaml"):
        data = open_dataset(path, "train", kind="objects")
        assert (data.format, data.splits_origin, data.classes) == ("yolo", "seeded 0.2 of train, seed 0", ("cat",))
        assert data.records[0].targets["objects"].boxes == ((14, 10, 42, 30),)
        assert guess_kind(path) == "objects"
    wider = tmp_path / "wider"
    draw(wider / "WIDER_train" / "images" / "0--Parade" / "1.jpg")
    (wider / "wider_face_train_bbx_gt.txt").write_text("0--Parade/1.jpg\n1\n1 2 10 20 0 0 0 0 0 0\n")
    data = open_dataset(wider, "all", kind="objects")
    assert (data.format, data.classes, data.records[0].targets["labels"]) == ("wider", ("face",), ("face",))
    assert not any("one class only" in note for note in data.notes), "one class is enough to be looked for"
    assert guess_kind(wider) == "objects"
    with pytest.raises(DataError, match=r"data\.yaml: a data set is a folder or a table .* or a COCO JSON file, not"):
        open_dataset(yolo / "data.yaml", "all", kind="boxes")
    with pytest.raises(
        DataError, match=r"a\.txt: a data set is a folder .*, a COCO JSON file or YOLO's data\.yaml, not"
    ):
        open_dataset(yolo / "labels" / "a.txt", "all", kind="objects")
