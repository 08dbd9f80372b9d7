import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset
from onetrunk.datasets.flickr8k import read_flickr


@pytest.fixture
def make(tmp_path, draw):
    """Writes files, and pictures ``1.jpg`` to ``4.jpg`` into a folder of the data set."""

    def make(files, pictures="images"):
        for name, text in files.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for index in range(1, 5):
            draw(tmp_path / "data" / pictures / f"{index}.jpg", height=8, width=8, seed=index)
        return tmp_path / "data"

    return make


def _captions(contents):
    return {record.path.name: record.targets["captions"] for found in contents.splits.values() for record in found}


CSV = (
    'image,caption\n1.jpg,A dog .\n1.jpg,"Red , and ""wild"" ."\n2.jpg,A man says "hi" , twice\n'
    '2.jpg,"Stop" says the "sign"\n3.jpg,Three\n'
)


def test_captions_txt_with_commas_and_quotes_as_they_are_found(make):
    root = make({"captions.txt": CSV})
    assert _captions(read_flickr(root)) == {
        "1.jpg": ("A dog .", 'Red , and "wild" .'),
        "2.jpg": ('A man says "hi" , twice', '"Stop" says the "sign"'),
        "3.jpg": ("Three",),
    }
    data = open_dataset(root, "all", kind="captions")
    assert [record.name for record in data.records] == ["images/1.jpg", "images/2.jpg", "images/3.jpg"]
    assert (guess_kind(root), data.format, data.classes) == ("captions", "flickr", ())
    assert _captions(read_flickr(root / "captions.txt")) == _captions(read_flickr(root))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\tTwo, three\n2.jpg#0\tx\n"),
        ("Flickr8k_text/Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\tTwo, three\n2.jpg#0\tx\n"),
        ("results_20130124.token", "1.jpg#0\tA dog .\r\n1.jpg#1\tTwo, three\r\n2.jpg#0\tx\r\n"),
        ("results.csv", "image_name| comment_number| comment\n1.jpg| 0| A dog .\n1.jpg| 1   Two, three\n2.jpg| 0| x\n"),
        ("captions.txt", 'image_name,comment_number,comment\n1.jpg,0,A dog .\n1.jpg, 1," Two, three"\n2.jpg,0,x\n'),
        ("captions.txt", "\ufeff1.jpg,A dog .\n1.jpg,Two, three\n2.jpg,x\n"),
    ],
)
def test_every_form_of_the_file_says_the_same(make, name, text):
    contents = read_flickr(make({name: text}))
    assert _captions(contents) == {"1.jpg": ("A dog .", "Two, three"), "2.jpg": ("x",)}
    assert not contents.faults and not contents.notes


@pytest.mark.parametrize(
    "folder",
    ["", "images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset/Flickr8k_Dataset", "flickr30k_images"],
)
def test_pictures_are_found_where_archives_put_them(make, folder):
    root = make({"captions.txt": CSV}, folder)
    assert all(record.path.is_file() for record in read_flickr(root).splits[""])


def test_splits_are_those_of_lists_and_other_pictures_are_left_out_with_a_note(make):
    root = make({"captions.txt": CSV, "splits/train.txt": "2.jpg\n\n", "splits/val.txt": "1.jpg\n"})
    train = open_dataset(root, "train", kind="captions")
    assert [record.name for record in train.records] == ["images/2.jpg"]
    assert [record.name for record in train.select("val").records] == ["images/1.jpg"]
    assert train.split_origin == "lists"
    assert train.notes == (f"{root}: 1 picture is in no list of a split and left out: 3.jpg.",)


def test_the_lists_of_flickr8k_call_val_dev(make):
    lists = {"trainImages": "1.jpg", "devImages": "2.jpg", "testImages": "3.jpg"}
    root = make({"captions.txt": CSV, **{f"Flickr8k_text/Flickr_8k.{key}.txt": name for key, name in lists.items()}})
    splits = read_flickr(root).splits
    assert {split: [record.path.name for record in records] for split, records in splits.items()} == {
        "train": ["1.jpg"],
        "val": ["2.jpg"],
        "test": ["3.jpg"],
    }


def test_lists_may_leave_the_ending_of_names_out(make):
    root = make({"captions.txt": CSV, "splits/train.txt": "1\n2\n", "splits/test.txt": "3\n"})
    assert {split: len(found) for split, found in read_flickr(root).splits.items()} == {"train": 2, "test": 1}


def test_without_lists_a_seed_cuts(make):
    data = open_dataset(make({"captions.txt": CSV}), "val", kind="captions")
    assert (len(data), data.split_origin) == (1, "seeded 0.2 of everything, seed 0")


def test_what_is_no_picture_is_left_out_with_a_note(make):
    root = make({"Flickr8k.token.txt": "1.jpg#0\tA dog .\n22.jpg.1#0\tA cat .\n22.jpg.1#1\tA cow .\n"})
    contents = read_flickr(root)
    assert list(_captions(contents)) == ["1.jpg"]
    assert "captions of 22.jpg.1 were left out; the name of a picture ends in .jpg" in contents.notes[0]


def test_empty_captions_are_noted_with_their_lines(make):
    contents = read_flickr(make({"captions.txt": 'image,caption\n1.jpg,\n1.jpg,a\n2.jpg,""\n'}))
    assert _captions(contents) == {"1.jpg": ("a",)}
    assert "2 empty captions were left out: line 2 (images/1.jpg), line 4 (images/2.jpg)." in contents.notes[0]
    assert "1 image without a caption was left out: images/2.jpg." in contents.notes[1]


def test_a_second_file_of_captions_is_noted(make):
    root = make({"captions.txt": CSV, "Flickr8k.token.txt": "1.jpg#0\tother\n"})
    assert read_flickr(root).notes == [f"{root}: read is captions.txt; not read: Flickr8k.token.txt."]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"captions.txt": "image,caption\n1.jpg,a\nnothing\n"},
            r"captions\.txt, line 3: this is no caption \(NAME,CAPTION\): 'nothing'",
        ),
        (
            {"Flickr8k.token.txt": "1.jpg#0\ta\n2.jpg b\n"},
            r"line 2: this is no caption \(NAME#NUMBER<tab>CAPTION\): '2\.jpg b'",
        ),
        ({"captions.txt": "image,caption\n"}, "no image has a caption"),
        (
            {"captions.txt": CSV, "splits/train.txt": "1.jpg\n9.jpg\n"},
            r"train\.txt: 1 picture is listed, but without a caption: 9\.jpg \(line 2\)\.",
        ),
        (
            {"captions.txt": CSV, "splits/train.txt": "1.jpg", "splits/val.txt": "1.jpg"},
            r"val\.txt: '1\.jpg' is in the list of 'train' too\. Keep it in one",
        ),
        (
            {"captions.txt": "image,caption\n7.jpg,a\n8.jpg,b\n"},
            r"none of its 2 images exists, e\.g\. .*images/7\.jpg\. Pictures are looked for in the folder it",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(make, files, message):
    with pytest.raises(DataError, match=message):
        open_dataset(make(files), "all", kind="captions")


def test_a_file_that_is_no_text_is_refused(make):
    root = make({})
    (root / "captions.txt").write_bytes(b"image,caption\n1.jpg,caf\xe9\n")
    with pytest.raises(DataError, match=r"the file isn't UTF-8 text .* Save it in UTF-8"):
        read_flickr(root)


@pytest.mark.parametrize("below", ["images", ".."])
def test_a_wrong_folder_is_refused_with_the_right_one(make, below):
    root = make({"captions.txt": CSV})
    with pytest.raises(
        DataError, match=r"no captions found; it holds .* Understood are: Flickr8k's .*Did you mean '.*d"
    ):
        open_dataset((root / below).resolve(), "train", kind="captions")


def test_a_table_in_a_folder_is_pointed_out(make):
    root = make({"texts.csv": "path,caption\nimages/1.jpg,a\n"})
    with pytest.raises(DataError, match=r"no captions found; .*Did you mean '.*texts\.csv'\?"):
        open_dataset(root, "train", kind="captions")
    assert guess_kind(root) == "captions"
