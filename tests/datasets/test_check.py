import shutil
from dataclasses import replace

import numpy as np
import pytest
from onetrunk.datasets import (
    DataError,
    check_dataset,
    find_duplicates,
    identify_contents,
    open_dataset,
    read_excerpts,
)
from PIL import Image


def _kinds(report, severity=None):
    return {finding.kind for finding in report.findings if severity in (None, finding.severity)}


def _only(report, kind):
    (finding,) = [finding for finding in report.findings if finding.kind == kind]
    return finding


def test_a_clean_folder_has_neither_errors_nor_warnings(pets):
    report = check_dataset(pets)
    assert not report.errors and not report.warnings
    assert report.counts["splits"] == {"train": {"cat": 12, "dog": 11}, "val": {"cat": 3, "dog": 2}}
    assert (report.counts["images"], report.counts["readable"], report.counts["classes"]) == (28, 28, 2)
    assert (report.counts["formats"], report.counts["modes"]) == ({"JPEG": 28}, {"RGB": 28})
    assert report.counts["width"] == {"min": 56, "median": 56, "max": 56}
    assert report.counts["height"] == {"min": 40, "median": 40, "max": 40}
    assert (report.data, report.format, report.split_origin) == (str(pets), "image_folder", "folders")


@pytest.fixture
def traps(tmp_path, pets, draw):
    """The pets with a copy of every trap that a folder can hold."""
    root = shutil.copytree(pets, tmp_path / "traps")
    cats, dogs, val = root / "train" / "cat", root / "train" / "dog", root / "val" / "cat"
    (cats / "empty.jpg").touch()
    (cats / "empty_too.jpg").touch()
    (cats / "cut.jpg").write_bytes((cats / "00.jpg").read_bytes()[:-300])
    (cats / "text.jpg").write_text("404: Not Found")
    damaged = bytearray(draw(cats / "damaged.png", 200, 200, seed=1000).read_bytes())
    damaged[1000:3000] = bytes(2000)
    (cats / "damaged.png").write_bytes(damaged)
    shutil.copy(cats / "01.jpg", val / "leak.jpg")
    shutil.copy(cats / "02.jpg", dogs / "no_dog.jpg")
    shutil.copy(dogs / "03.jpg", dogs / "again.jpg")
    draw(cats / "small.png", 12, 40, seed=1001)
    draw(cats / "long.png", 20, 201, seed=1002)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(draw(cats / "turned.jpg", 60, 30, seed=1003)).save(cats / "turned.jpg", exif=exif)
    frames = [Image.new("RGB", (30, 30), color) for color in ("red", "lime")]
    frames[0].save(cats / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (30, 30), (0, 99, 0, 0)).save(cats / "ink.tif")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(cats / "dark.png")
    (root / "val" / "eel").mkdir()
    draw(root / "val" / "eel" / "0.png", seed=1004)
    draw(root / "val" / "eel" / "1.png", seed=1005)
    return root


def test_every_trap_of_a_folder_is_named(traps):
    report = check_dataset(traps, workers=2)
    unreadable = {finding.files[0]: finding.message for finding in report.errors if finding.kind == "unreadable"}
    expected = {"empty": "0 bytes", "empty_too": "0 bytes", "cut": "truncated", "text": "looks like text"}
    expected = {f"train/cat/{name}.jpg": words for name, words in expected.items()}
    expected["train/cat/damaged.png"] = "can't be decoded"
    assert unreadable.keys() == expected.keys()
    assert all(words in unreadable[name] for name, words in expected.items())
    unknown = _only(report, "class_not_in_train")
    assert "'eel' of 2 images in 'val' isn't one of the 2 in 'train': cat, dog" in unknown.message
    assert (unknown.severity, unknown.files) == ("error", ("val/eel/0.png", "val/eel/1.png"))
    files = {
        "small": ("warning", ("train/cat/small.png",)),
        "elongated": ("warning", ("train/cat/long.png",)),
        "dark": ("warning", ("train/cat/dark.png",)),
        "rotated": ("info", ("train/cat/turned.jpg",)),
        "several_pictures": ("info", ("train/cat/moving.gif",)),
    }
    for kind, found in files.items():
        assert (_only(report, kind).severity, _only(report, kind).files) == found
    assert [finding.severity for finding in report.findings] == sorted(
        (finding.severity for finding in report.findings), key=["error", "warning", "info"].index
    )


def test_duplicates_are_told_apart_by_what_they_spoil(traps):
    report = check_dataset(traps)
    across = _only(report, "duplicates_across_splits")
    assert across.groups == (("train/cat/01.jpg", "val/cat/leak.jpg"),)
    assert "1 of the 8 images in 'val' is in 'train' too" in across.message
    assert "e.g. train/cat/01.jpg = val/cat/leak.jpg" in across.message
    conflicting = _only(report, "duplicates_under_different_labels")
    assert conflicting.groups == (("train/cat/02.jpg", "train/dog/no_dog.jpg"),)
    assert "1 image is there under different labels" in conflicting.message
    assert "train/cat/02.jpg (cat) = train/dog/no_dog.jpg (dog)" in conflicting.message
    within = _only(report, "duplicates_in_a_split")
    assert set(within.groups) == {
        ("train/cat/02.jpg", "train/dog/no_dog.jpg"),
        ("train/dog/03.jpg", "train/dog/again.jpg"),
    }, "neither the two empty files nor anything else"
    assert "2 of the 36 images in 'train' are copies of another one" in within.message


def test_modes_are_counted_with_the_rule_by_which_they_are_read(traps):
    report = check_dataset(traps)
    modes = {finding.message.split()[4].rstrip(".:"): finding for finding in report.findings if finding.kind == "mode"}
    assert "0..65535 becomes 0..255" in modes["I;16"].message
    assert "without the colour profile" in modes["CMYK"].message
    assert modes["CMYK"].files == ("train/cat/ink.tif",)
    assert modes["RGB"].message == f"{report.counts['modes']['RGB']} images of mode RGB."
    assert sum(report.counts["modes"].values()) == report.counts["readable"] == report.counts["images"] - 5


def test_the_cut_that_training_would_make_is_checked(tmp_path, unsplit_pets):
    root = shutil.copytree(unsplit_pets, tmp_path / "pets")
    (validating,) = open_dataset(root, "val", split_seed=3).select("val").records[:1]
    shutil.copy(validating.path, root / "dog" / "copy.png")
    report = check_dataset(root, split_seed=3)
    opened = open_dataset(root, "val", split_seed=3)
    assert report.split_origin == opened.split_origin == "seeded 0.2 of everything, seed 3"
    assert report.counts["splits"]["val"] == opened.class_counts()
    assert check_dataset(root, val_fraction=0.5).counts["splits"]["val"] == {"cat": 5, "dog": 3, "eel": 1}


def test_rare_and_absent_classes_and_imbalance(tmp_path, draw):
    rows = ["path,label,split", *(f"{index}.png,a,train" for index in range(20)), "20.png,b,train", "21.png,b,train"]
    rows += ["22.png,c,train", "23.png,a,val"]
    for index in range(24):
        draw(tmp_path / f"{index}.png", seed=index)
    (tmp_path / "t.csv").write_text("\n".join(rows))
    report = check_dataset(tmp_path / "t.csv")
    assert _only(report, "single_image_class").files == ("22.png",)
    assert "1 class has no image in 'val' and so has no figure there: b." in _only(report, "class_not_in_split").message
    imbalance = _only(report, "imbalance").message
    assert "'a' has 20 times as many images in 'train' as 'c' (20 and 1)" in imbalance
    assert "--sampling balanced or --loss.class-weights balanced" in imbalance
    assert not report.errors


def test_sets_of_labels_count_for_each_of_their_classes(tmp_path, draw):
    for index in range(5):
        draw(tmp_path / f"{index}.png", seed=index)
    shutil.copy(tmp_path / "0.png", tmp_path / "5.png")
    shutil.copy(tmp_path / "1.png", tmp_path / "6.png")
    rows = ["0.png,cat;dog,train", "1.png,cat,train", "2.png,,train", "3.png,dog;eel,val", "4.png,cat,val"]
    rows += ["5.png,dog;cat,train", "6.png,cat;dog,train"]
    (tmp_path / "t.csv").write_text("path,labels,split\n" + "\n".join(rows))
    report = check_dataset(tmp_path / "t.csv")
    assert report.counts["splits"]["train"] == {"cat": 4, "dog": 3, "eel": 0}
    assert _only(report, "class_not_in_train").files == ("3.png",)
    assert _only(report, "duplicates_under_different_labels").groups == (("1.png", "6.png"),), "the order is no matter"
    counts = [finding for finding in report.findings if finding.kind == "class_counts"]
    assert counts[0].files == ("2.png",) and "1 image of no class" in counts[0].message


def test_all_faults_of_a_table_are_listed_and_the_sound_rows_are_looked_at(tmp_path, draw):
    for index in range(4):
        draw(tmp_path / f"{index}.png", seed=index)
    shutil.copy(tmp_path / "0.png", tmp_path / "copy.png")
    lines = ["path,label,split", "0.png,a,train", "1.png,b,train", ",a,trian", "2.png,a,val,x", "3.png,,val"]
    lines += ["0.png,b,train", "copy.png,a,val", "gone.png,b,val"]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines))
    report = check_dataset(table)
    faults = [finding.message for finding in report.errors if finding.kind == "label_file"]
    rows = [fault.split(", ")[1].split(":")[0] for fault in faults]
    assert rows == ["row 4", "row 4", "row 5", "row 6", "row 7"], "both faults of row 4"
    assert [finding.files for finding in report.errors if finding.kind == "unreadable"] == [("gone.png",)]
    assert _only(report, "duplicates_across_splits").groups == (("0.png", "copy.png"),)


def test_notes_of_opening_are_warnings(tmp_path, pets, draw):
    root = shutil.copytree(pets, tmp_path / "pets")
    draw(root / "train" / "loose.png")
    assert "left out, being in no class folder: 1 picture (loose.png)" in _only(check_dataset(root), "note").message


def test_what_can_not_be_opened_is_refused(tmp_path, pets):
    with pytest.raises(DataError, match=r"pet: there is no such file or folder\. Did you mean 'pets'"):
        check_dataset(pets.with_name("pet"))
    (tmp_path / "t.csv").write_text("path,lable\n0.png,a\n")
    with pytest.raises(DataError, match="column 'label' is missing"):
        check_dataset(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("path,label\n,a\n0.png,\n")
    with pytest.raises(DataError, match=r"2 faults:\n.*row 2: the path is empty.*\n.*row 3: the label"):
        check_dataset(tmp_path / "t.csv")


def test_a_progress_bar_sees_every_image(pets):
    seen = []

    def track(inspected, total):
        seen.append(total)
        for each in inspected:
            seen.append(each[0].name)
            yield each

    check_dataset(pets, track=track)
    assert seen[0] == 28 and len(set(seen[1:])) == 28


def test_a_report_becomes_plain_values(traps):
    plain = check_dataset(traps).to_dict()
    assert plain["severities"]["error"] == 6
    assert plain["findings"][0].keys() == {"severity", "kind", "message", "files", "groups"}
    assert plain["counts"]["images"] == 44


def test_files_of_the_same_size_and_ends_are_read_whole(tmp_path, records_of):
    """Scans without compression have margins alike: same size, same first and last rows."""
    ends, middle = bytes(20_000), bytes(range(200)) * 100
    paths = [tmp_path / name for name in ("a.bmp", "b.bmp", "c.bmp")]
    for path, content in zip(paths, (middle, middle[::-1], middle), strict=True):
        path.write_bytes(ends + content + ends)
    records = [replace(record, targets={"label": "x"}) for record in records_of([*paths, tmp_path / "gone.bmp"])]
    excerpts = read_excerpts(records)
    assert len(set(excerpts[:3])) == 1 and excerpts[3] is None
    contents = identify_contents(records, excerpts)
    (finding,) = find_duplicates({"train": records}, contents)
    assert finding.groups == (("a.bmp", "c.bmp"),)
