import shutil

import pytest
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import DataError, open_dataset, write_split


def test_selecting_a_split_equals_opening_it(pets):
    assert open_dataset(pets, "train").select("validation") == open_dataset(pets, "val")


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


def test_the_fingerprint_follows_names_targets_and_contents_but_not_the_place(tmp_path, pets):
    original = open_dataset(pets, "val").fingerprint()
    root = shutil.copytree(pets, tmp_path / "moved", copy_function=shutil.copy)
    assert open_dataset(root, "val").fingerprint() == original
    assert open_dataset(root, "train").fingerprint() != original

    picture = root / "val" / "cat" / "00.jpg"
    content = bytearray(picture.read_bytes())
    content[-5] ^= 1
    picture.write_bytes(content)
    changed = open_dataset(root, "val").fingerprint()
    picture.rename(picture.with_name("99.jpg"))
    renamed = open_dataset(root, "val").fingerprint()
    assert len({original, changed, renamed}) == 3


def test_the_fingerprint_counts_missing_files(tmp_path, pets):
    root = shutil.copytree(pets, tmp_path / "pets")
    data = open_dataset(root, "val")
    whole = data.fingerprint()
    data.records[0].path.unlink()
    assert data.fingerprint() != whole


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("test", "there is no split 'test'; there are: train, val.$"),
        ("vall", "there is no split 'vall'; there are: train, val. Did you mean 'val'"),
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


def test_an_unknown_format_is_refused(pets):
    with pytest.raises(UserError, match=r"Unknown data format 'tables'.*Did you mean 'table'"):
        open_dataset(pets, "train", format="tables")


def test_a_folder_opened_as_a_table_and_the_reverse_are_refused(pets, tmp_path):
    with pytest.raises(DataError, match="the table can't be read"):
        open_dataset(pets, "train", format="table")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match="the folder can't be read"):
        open_dataset(tmp_path / "a.csv", "train", format="image_folder")
