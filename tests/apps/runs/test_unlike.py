"""What looks alike and isn't: other pictures under the same names, other questions, other units."""

import json
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.classification.multilabel import MultiLabelEvaluator
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import EvaluatedImages, Members, pool_images, read_images
from onetrunk.apps.runs import CompareOptions, compare

LABELS = [0] * 4 + [1] * 4 + [2] * 4


def keep_hashes(folder: Path, **changed: int) -> Path:
    """Let an evaluation know its images' files, some of them others than usual."""
    images, evaluator = read_images(folder / "images.npz")
    hashes = {name: place + 2**60 for place, name in enumerate(images.names)}
    images.with_contents(hashes | changed).save(folder / "images.npz", evaluator)
    return folder


def test_other_pictures_under_the_same_names_are_refused(write_evaluation) -> None:
    first = keep_hashes(write_evaluation("a", LABELS, LABELS))
    same = keep_hashes(write_evaluation("b", LABELS, LABELS, fingerprint="g"))
    assert compare(CompareOptions(first=str(first), second=str(same))).notes == []
    other = keep_hashes(write_evaluation("c", LABELS, LABELS), **{"003.png": 7, "004.png": 7})
    with pytest.raises(ValueError, match=r"2 of 12 images under the same name but with other contents, such as '003"):
        compare(CompareOptions(first=str(first), second=str(other)))


def test_where_only_names_could_be_matched_it_is_said(write_evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = write_evaluation("a", LABELS, LABELS), keep_hashes(write_evaluation("b", LABELS[:9], LABELS[:9]))
    assert main(["runs", "compare", str(old), str(new)]) == 0
    assert "Images were matched by their names alone: an older release" in capsys.readouterr().out


def test_an_evaluation_of_another_data_set_isnt_compared(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    for name, source in (("blue", "blue"), ("green", "green"), ("red", "red")):
        for place in range(5):  # the same names, but from the training split
            target = other / "val" / name / f"{place:02}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((pictures / "train" / source / f"{place + 5:02}.png").read_bytes())
    words = ["--model", str(trained_run), "--data", str(other), "--device", "cpu", "--workers", "0"]
    assert main(["classification", "evaluate", *words, "--output", str(tmp_path / "out")]) == 0
    assert main(["runs", "compare", str(trained_run), str(tmp_path / "out")]) == 2
    assert "15 of 15 images under the same name but with other contents" in capsys.readouterr().err


def test_one_label_against_any_number_is_named(write_evaluation) -> None:
    first, second = write_evaluation("a", LABELS, LABELS), write_evaluation("b", LABELS, LABELS)
    images, evaluator = read_images(second / "images.npz")
    rows = {"labels": np.eye(3, dtype=bool)[LABELS], "logit": np.eye(3, dtype=np.float32)[LABELS]}
    several = MultiLabelEvaluator(evaluator.classes)
    EvaluatedImages(images.indices, images.names, rows).save(second / "images.npz", several)
    for pair in ((first, second), (second, first)):
        with pytest.raises(ValueError, match=r"one label an image.*any number|any number.*one label an image"):
            compare(CompareOptions(first=str(pair[0]), second=str(pair[1])))


def by_subject(folder: Path) -> Path:
    """Let an evaluation be one of subjects with two images each."""
    subjects, evaluator = read_images(folder / "images.npz")
    images = pool_images([subjects, subjects])
    images = EvaluatedImages(images.indices, tuple(f"x{place}.png" for place in range(24)), images.rows)
    members = Members(images, np.tile(np.arange(12), 2))
    both = EvaluatedImages(subjects.indices, subjects.names, subjects.rows, members=members)
    both.with_contents({name: 5 for name in images.names}).save(folder / "images.npz", evaluator)
    return folder


def test_subjects_are_called_so_and_not_compared_with_images(
    write_evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    images, first = write_evaluation("a", LABELS, LABELS), by_subject(write_evaluation("b", LABELS, LABELS))
    second = by_subject(write_evaluation("c", LABELS, [1, *LABELS[1:]]))
    assert main(["runs", "compare", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    assert "12 subjects that both were judged on" in shown
    assert " images" not in shown
    assert main(["runs", "compare", str(images), str(first)]) == 2
    assert "by image, " in (error := capsys.readouterr().err)
    assert "one of them with --by-subject, the other without" in error


def test_a_selection_of_subjects_keeps_their_images(write_evaluation) -> None:
    subjects, _ = read_images(by_subject(write_evaluation("a", LABELS, LABELS)) / "images.npz")
    chosen = subjects.select([7, 2]).members
    assert chosen is not None
    assert dict(zip(chosen.images.names, chosen.places.tolist(), strict=True)) == {
        "x2.png": 1, "x7.png": 0, "x14.png": 1, "x19.png": 0
    }  # fmt: skip


def test_a_worse_calibration_error_is_marked(write_evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_evaluation("a", LABELS, LABELS, sure=0.9)
    second = write_evaluation("b", LABELS, LABELS, sure=0.6)
    assert main(["runs", "compare", str(first), str(second), "--output", str(first / "out")]) == 0
    assert "ece (lower is better)" in capsys.readouterr().out
    stored = json.loads((first / "out" / "compare.json").read_text())
    assert stored["lower_is_better"] == ["ece"]
    assert stored["metrics"]["ece"]["difference"]["value"] == pytest.approx(0.3, abs=1e-6)


def test_a_file_of_an_evaluation_names_its_folder(write_evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_evaluation("a", LABELS, LABELS)
    assert main(["runs", "compare", str(folder), str(folder / "results.json")]) == 2
    assert f"is a file; a run or an evaluation is a folder. Name the one that it lies in: {folder}" in (
        capsys.readouterr().err
    )


def test_images_of_an_evaluation_arent_replaced_unasked(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images.npz").write_text("mine")
    words = ["--model", str(trained_run), "--data", str(pictures), "--output", str(tmp_path)]
    assert main(["classification", "evaluate", *words]) == 2
    assert "images.npz: already there. Write over it: --overwrite" in capsys.readouterr().err
    assert (tmp_path / "images.npz").read_text() == "mine"
