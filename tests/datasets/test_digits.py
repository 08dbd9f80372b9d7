import numpy as np
import pytest
from onetrunk.datasets import DataError, open_dataset, read_image, write_digits


def test_the_digits_become_an_image_folder_with_a_fixed_split(tmp_path):
    counts = write_digits(tmp_path / "digits", size=16)
    assert counts == {"train": 1438, "val": 359}
    data = open_dataset(tmp_path / "digits", "train")
    assert data.classes == tuple("0123456789")
    assert data.split_origin == "folders"
    assert len(data) == 1438
    pictures = [np.asarray(read_image(record.path, channels=1)) for record in data.records[:50]]
    assert {picture.shape for picture in pictures} == {(16, 16)}
    assert np.max(pictures) > 200
    assert np.min(pictures) == 0
    with pytest.raises(DataError, match="into an empty folder only"):
        write_digits(tmp_path / "digits")
    with pytest.raises(DataError, match="Digits of 0 x 0 pixels can't be written: choose a size from 1 to 1,024"):
        write_digits(tmp_path / "none", size=0)
    assert not (tmp_path / "none").exists()
