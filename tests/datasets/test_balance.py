from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.datasets import (
    DataError,
    EpochBatches,
    Record,
    balanced_weights,
    class_weights,
    median_frequency_weights,
    open_dataset,
    positive_pixel_weights,
    positive_weights,
)


def _records(key: str, values: list) -> list[Record]:
    return [Record(Path(f"{index}.png"), {key: value}, f"{index}.png") for index, value in enumerate(values)]


def test_records_weigh_in_inverse_proportion_to_their_class():
    weights = balanced_weights(_records("label", ["cat", "dog", "cat", "cat", "dog", "eel"]))
    assert weights == [1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2, 1]


def test_the_rarest_of_several_labels_decides_and_none_is_a_class_of_its_own():
    labels = [("cat",), ("cat", "dog"), (), ("cat", "dog", "eel"), ()]
    assert balanced_weights(_records("labels", labels)) == [1 / 3, 1 / 2, 1 / 2, 1, 1 / 2]


def test_records_of_which_nothing_is_known_weigh_alike():
    assert balanced_weights([Record(Path("a"), {}, "a"), Record(Path("b"), {}, "b")]) == [0.5, 0.5]


def test_balanced_epochs_draw_every_class_equally_often():
    names = ["cat"] * 90 + ["dog"] * 9 + ["eel"]
    plan = EpochBatches(100, 10, shuffle=True, sample_weights=balanced_weights(_records("label", names)))
    drawn = dict.fromkeys(names, 0)
    for epoch in range(100):
        plan.set_epoch(epoch)
        for index in plan.order():
            drawn[names[index]] += 1
    # a third of 10,000 draws each, to four standard deviations
    assert all(count == pytest.approx(10_000 / 3, abs=4 * (10_000 * 2 / 9) ** 0.5) for count in drawn.values())


@pytest.fixture
def open_table(tmp_path, draw):
    def make(column: str, values: list[str]):
        for index in range(len(values)):
            draw(tmp_path / f"{index}.png", height=8, width=8, seed=index)
        rows = "".join(f"{index}.png,{value},train\n" for index, value in enumerate(values))
        # held apart, so that no validation split is cut from the rows that are counted
        draw(tmp_path / "held.png", height=8, width=8)
        (tmp_path / "table.csv").write_text(f"path,{column},split\n{rows}held.png,{values[0]},val\n")
        return open_dataset(tmp_path / "table.csv", "train")

    return make


def test_class_weights_have_a_mean_of_one_over_the_images(open_table):
    weights = class_weights(open_table("label", ["cat", "cat", "cat", "dog"]))
    assert (weights.dtype, weights.tolist()) == (torch.float32, pytest.approx([2 / 3, 2]))
    assert (3 * weights[0] + weights[1]) / 4 == pytest.approx(1)


def test_positive_weights_are_the_images_without_a_class_over_those_with_it(open_table):
    weights = positive_weights(open_table("labels", ["cat;dog", "cat", "cat;eel", "cat", "", "cat"]))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([1 / 5, 5, 5])


def test_a_class_without_negatives_keeps_a_loss(open_table):
    assert positive_weights(open_table("labels", ["cat", "cat;dog"])).tolist() == pytest.approx([1 / 2, 1])


def test_a_class_without_images_has_the_weight_of_one_with_one(open_table, tmp_path):
    opened = open_table("label", ["cat", "cat", "dog"])
    held = opened.select("val")
    assert class_weights(held).tolist() == pytest.approx([1 / 2, 1 / 2])
    assert positive_weights(held).tolist() == pytest.approx([1, 1])


def test_median_frequencies_by_hand(make_pairs, write_mask):
    root = make_pairs("images/{}.png", "masks/{}.png")
    masks = {"a": np.zeros((8, 10)), "b": np.zeros((8, 10)), "c": np.full((8, 10), 255)}
    masks["a"][:4] = 1  # 40 of 80
    masks["b"][:2], masks["b"][2:4] = 2, 255  # 20 of 60
    masks["b"][4, 0] = 1  # 1 of 60
    for name, values in masks.items():
        write_mask(root / "masks" / f"{name}.png", values)
    (root / "classes.txt").write_text("sky\nroad\ncar\nbus\n")
    data = open_dataset(root, "all", kind="masks")
    frequencies = [(40 + 39) / 140, 41 / 140, 20 / 60]
    expected = [frequencies[2] / each for each in frequencies]
    assert median_frequency_weights(data).tolist() == pytest.approx([*expected, 1]), "no image shows a bus"


def test_where_classes_overlap_a_frequency_is_a_share_of_the_picture(make_pairs, write_mask):
    root = make_pairs("images/{}.png", "masks/low/{}.png")
    values = np.zeros((8, 10), dtype=np.uint8)
    values[:4] = 255
    for name in "abc":
        write_mask(root / "masks" / "low" / f"{name}.png", values)
        write_mask(root / "masks" / "all" / f"{name}.png", np.full((8, 10), 255))
    data = open_dataset(root, "all", kind="masks")
    assert data.classes == ("all", "low")
    assert median_frequency_weights(data).tolist() == pytest.approx([0.75, 1.5])  # of 1 and 1/2
    assert positive_pixel_weights(data).tolist() == pytest.approx([1 / 240, 1.0])


def test_masks_that_show_nothing_have_no_weights(make_pairs, write_mask):
    root = make_pairs("images/{}.png", "masks/{}.png")
    for name in "abc":
        write_mask(root / "masks" / f"{name}.png", np.full((8, 10), 255))
    (root / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError, match="no mask shows any class; there is nothing to weigh"):
        median_frequency_weights(open_dataset(root, "all", kind="masks"))
