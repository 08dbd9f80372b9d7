import pytest
from onetrunk.datasets import DataError, list_pictures


def test_files_and_folders_are_listed_once_and_sorted(tmp_path, draw):
    for name in ("b/2.png", "b/deep/1.jpg", "a.png", "odd.dat.png"):
        draw(tmp_path / name)
    odd = (tmp_path / "odd.dat.png").rename(tmp_path / "odd.dat")
    (tmp_path / "b" / "notes.txt").write_text("x")
    records = list_pictures([odd, tmp_path / "b", tmp_path / "a.png", tmp_path / "b" / "2.png"])
    assert [record.path.relative_to(tmp_path).as_posix() for record in records] == [
        "a.png",
        "b/2.png",
        "b/deep/1.jpg",
        "odd.dat",
    ]
    assert records[0].name == (tmp_path / "a.png").as_posix()
    assert records[0].targets == {}


def test_names_are_as_given(tmp_path, draw, monkeypatch):
    draw(tmp_path / "photos" / "1.png")
    monkeypatch.chdir(tmp_path)
    assert [record.name for record in list_pictures(["photos"])] == ["photos/1.png"]


def test_missing_paths_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg: there is no such file or folder"):
        list_pictures([tmp_path / "gone.jpg"])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"no pictures in this folder, it holds 1 other file \(a\.txt\)"):
        list_pictures([tmp_path])
    with pytest.raises(DataError, match="No pictures were given"):
        list_pictures([])
