"""Two models on the same images, with numbers that are counted by hand."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.intervals import paired_proportions
from onetrunk.apps.runs import CompareOptions, compare

#: 40 ants, 40 bees, 20 cats
LABELS = [0] * 40 + [1] * 40 + [2] * 20


def wrong_at(*places: int) -> list[int]:
    return [(label + 1) % 3 if place in places else label for place, label in enumerate(LABELS)]


@pytest.fixture
def pair(write_evaluation) -> tuple[Path, Path]:
    """A is wrong on 12 images, ten of them ants; B on two of those, and on one cat that A has right."""
    first = write_evaluation("a", LABELS, wrong_at(*range(10), 40, 80), sure=[0.5 + p / 250 for p in range(100)])
    return first, write_evaluation("b", LABELS, wrong_at(0, 1, 99), sure=0.9)


def test_counted_by_hand(pair: tuple[Path, Path]) -> None:
    found = compare(CompareOptions(first=str(pair[0]), second=str(pair[1])))
    top1 = found.metrics["top1"]
    assert (top1.first, top1.second, found.images) == (pytest.approx(0.88), pytest.approx(0.97), 100)
    assert top1.difference.value == pytest.approx(0.09)
    assert found.disagreement is not None
    assert (found.disagreement.only_first, found.disagreement.only_second) == (1, 10)
    assert found.disagreement.p_value == pytest.approx(2 * (1 + 11) / 2**11)  # the two tails of 11 coins
    right = [np.array(LABELS) == said for said in (wrong_at(*range(10), 40, 80), wrong_at(0, 1, 99))]
    assert top1.difference == paired_proportions(*right)
    assert top1.difference.p_value == found.disagreement.p_value
    assert 0.01 < top1.difference.low < 0.03
    assert 0.15 < top1.difference.high < 0.18
    assert next(iter(found.metrics)) == found.primary == "top1"
    low, high = 100 * top1.difference.low, 100 * top1.difference.high
    assert found.verdict == f"top1: B is better by {low:.1f} to {high:.1f} points (100 images)."


def test_classes_come_with_the_largest_difference_first(pair: tuple[Path, Path]) -> None:
    found = compare(CompareOptions(first=str(pair[0]), second=str(pair[1]))).per_class
    assert list(found) == ["ant", "bee", "cat"]
    assert [row.images for row in found.values()] == [40, 40, 20]
    assert (found["ant"].first, found["ant"].second) == (pytest.approx(0.75), pytest.approx(0.95))
    assert found["ant"].difference.low > 0.05
    assert (found["cat"].first, found["cat"].second, found["cat"].difference.value) == (0.95, 0.95, 0)


def test_the_images_that_tell_come_with_the_largest_difference_of_probability_first(pair: tuple[Path, Path]) -> None:
    unlike = compare(CompareOptions(first=str(pair[0]), second=str(pair[1]))).unlike
    # image 99: A gave its label 0.5 + 99 / 250, B half of 0.1
    assert unlike[0]["image"] == "099.png"
    assert unlike[0]["first"] == {"right": 1.0, "probability": pytest.approx(0.896), "predicted": "cat"}
    assert unlike[0]["second"] == {"right": 0.0, "probability": pytest.approx(0.05), "predicted": "ant"}
    # A is the surest of its mistake on 080, so it gave the label least
    assert [row["image"] for row in unlike[1:4]] == ["080.png", "040.png", "009.png"]
    assert len(unlike) == 11


def test_it_is_printed_and_written(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["runs", "compare", *map(str, pair), "--output", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "100 images that both were judged on" in shown
    assert "only A is right on 1 images, only B on 10; exact McNemar test: p = 0.0117" in shown
    assert "of twenty that don't differ, one is expected to seem so" in shown
    assert "bee (wrong)" in shown
    stored = json.loads((out / "compare.json").read_text())
    assert stored["verdict"] in shown
    assert stored["disagreement"]["only_second"] == 10
    with (out / "compare.csv").open() as stream:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(stream)}
    assert float(rows["metric", "top1"]["difference"]) == pytest.approx(0.09)
    assert rows["recall", "cat"]["images"] == "20"
    assert main(["runs", "compare", *map(str, pair), "--output", str(out)]) == 2
    assert "already there. Write over it: --overwrite" in capsys.readouterr().err


def test_twenty_images_are_shown_unless_all_are_asked_for(write_evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [str(write_evaluation("a", LABELS, LABELS)), str(write_evaluation("b", LABELS, wrong_at(*range(30))))]
    assert main(["runs", "compare", *pair]) == 0
    assert "... and 10 more images that only one has right: --all" in capsys.readouterr().out
    assert main(["runs", "compare", *pair, "--all"]) == 0
    shown = capsys.readouterr().out
    assert "--all" not in shown
    assert all(f"{place:03}.png" in shown for place in range(30))


def test_no_difference_is_said_with_the_number_of_images(write_evaluation) -> None:
    first, second = write_evaluation("a", LABELS, wrong_at(1, 2, 3)), write_evaluation("b", LABELS, wrong_at(3, 4, 50))
    found = compare(CompareOptions(first=str(first), second=str(second)))
    assert found.verdict.startswith(
        "top1: no difference that 100 images can show (B - A is +0.0 points, 95% interval -"
    )


def test_the_worse_one_is_named_too(pair: tuple[Path, Path]) -> None:
    found = compare(CompareOptions(first=str(pair[1]), second=str(pair[0])))
    assert found.verdict.startswith("top1: A is better by ")
    assert found.metrics["top1"].difference.value == pytest.approx(-0.09)


def test_a_difference_of_few_images_is_no_finding(write_evaluation) -> None:
    """Five images against none: two coins in 64 do it by chance, though no resample is without them."""
    first, second = write_evaluation("a", LABELS, wrong_at(*range(5))), write_evaluation("b", LABELS, LABELS)
    found = compare(CompareOptions(first=str(first), second=str(second)))
    assert found.metrics["top1"].difference.p_value == pytest.approx(2 / 2**5)
    assert found.metrics["top1"].difference.low < 0.01
    assert found.metrics["macro_f1"].difference.low > 0


def test_a_class_of_two_images_is_no_certainty(write_evaluation) -> None:
    labels = [0] * 8 + [1] * 2
    folders = write_evaluation("a", labels, labels), write_evaluation("b", labels, [0] * 8 + [1, 0])
    shift = compare(CompareOptions(first=str(folders[0]), second=str(folders[1]))).per_class["bee"].difference
    assert (shift.value, shift.p_value) == (-0.5, 1)
    assert shift.low < -0.8
    assert shift.high > 0


def test_a_model_doesnt_differ_from_itself(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", str(pair[0]), str(pair[0])]) == 0
    shown = capsys.readouterr().out
    assert "exact McNemar test: p = 1.0000" in shown
    assert "where only one is right" not in shown


def test_images_are_matched_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    images, evaluator = read_images(pair[1] / "images.npz")
    order = np.random.default_rng(0).permutation(len(images))
    whole = compare(CompareOptions(first=str(pair[0]), second=str(pair[1])))
    images.select(order).save(pair[1] / "images.npz", evaluator)
    assert compare(CompareOptions(first=str(pair[0]), second=str(pair[1]))) == whole


def test_images_that_one_lacks_are_left_out(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    images, evaluator = read_images(pair[1] / "images.npz")
    images.select(range(10, 100)).save(pair[1] / "images.npz", evaluator)
    found = compare(CompareOptions(first=str(pair[0]), second=str(pair[1])))
    assert (found.images, found.only_first, found.only_second) == (90, 10, 0)
    assert found.metrics["top1"].first == pytest.approx(88 / 90)
    shown = capsys.readouterr().out
    assert "A has 10 more images, which are left out." in shown
    assert "contents" not in shown


def test_other_contents_and_splits_are_noted(write_evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_evaluation("a", LABELS, LABELS)
    second = write_evaluation("b", LABELS, LABELS, fingerprint="g", split="all")
    compare(CompareOptions(first=str(first), second=str(second)))
    shown = capsys.readouterr().out
    assert "The names are the same, but the contents of the images have changed" in shown
    assert "A was judged on 'val', B on 'all'." in shown


def test_runs_and_their_evaluations_compare(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(trained_run), "--data", str(pictures), "--device", "cpu", "--workers", "0"]
    assert main(["classification", "evaluate", *words, "--output", str(tmp_path / "again")]) == 0
    assert main(["runs", "compare", str(trained_run), str(tmp_path / "again")]) == 0
    assert "no difference that 15 images can show" in capsys.readouterr().out


def test_means_over_seeds_compare(write_evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_evaluation("one", LABELS, wrong_at(*range(4)))
    other = write_evaluation("other", LABELS, wrong_at(0, 1))
    seeds = tmp_path / "seeds"
    for place, folder in enumerate((one, other)):
        shutil.copytree(folder, seeds / f"seed-{place}")
    card = json.loads((one / "results.json").read_text())
    card["repeats"] = {"over": "seed", "numbers": [0, 1], "folders": ["seed-0", "seed-1"], "metrics": {}}
    (seeds / "results.json").write_text(json.dumps(card))
    found = compare(CompareOptions(first=str(one), second=str(seeds)))
    assert found.metrics["top1"].second == pytest.approx((0.96 + 0.98) / 2)
    assert found.disagreement is None
    assert found.per_class["ant"].second == pytest.approx((36 / 40 + 38 / 40) / 2)
    assert [(row["image"], row["second"]["right"]) for row in found.unlike] == [("002.png", 0.5), ("003.png", 0.5)]
    shown = capsys.readouterr().out
    assert "B is the mean of 2 seeds" in shown
    assert "50% right" in shown


REFUSALS = [
    ({"classes": ("ant", "bee", "dog")}, r"judged in different ways \(classes: ant, bee, cat against ant, bee, dog\)"),
    ({"names": [f"x{place}" for place in range(100)]}, r"share no image: '000.png' and the like against 'x0' and the"),
    ({"labels": [1, *LABELS[1:]]}, r"1 of 100 images under the same name but with another truth, such as '000.png'"),
    ({"names": ["twice"] * 100}, r"has two images called 'twice'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS)
def test_what_cant_be_compared_is_refused(
    write_evaluation, changes: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_evaluation("a", LABELS, LABELS)
    second = write_evaluation("b", **{"labels": LABELS, "predictions": LABELS, **changes})
    with pytest.raises(ValueError, match=message):
        compare(CompareOptions(first=str(first), second=str(second)))


def test_folders_without_results_are_refused(trained_run: Path, write_evaluation, tmp_path: Path) -> None:
    good = str(write_evaluation("good", LABELS, LABELS))

    def refused(folder: Path, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            compare(CompareOptions(first=good, second=str(folder)))

    refused(tmp_path / "goood", r"There is no folder '.*goood'. Did you mean 'good'\?")
    refused(tmp_path, r"holds no results.json: neither a finished run nor an evaluation with --output")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copyfile(trained_run / "config.yaml", unfinished / "config.yaml")
    refused(unfinished, r"isn't finished. Go on with its command and --resume")
    damaged = Path(shutil.copytree(good, tmp_path / "damaged"))
    (damaged / "images.npz").write_bytes(b"PK")
    refused(damaged, r"images.npz' is damaged, or of another release")
    whole = bytearray((Path(good) / "images.npz").read_bytes())
    whole[60:80] = bytes(20)  # within the compressed numbers
    (damaged / "images.npz").write_bytes(whole)
    refused(damaged, r"images.npz' is damaged, or of another release")
    images, evaluator = read_images(Path(good) / "images.npz")
    evaluator.task = "of_a_later_release"
    images.save(damaged / "images.npz", evaluator)
    refused(damaged, r"images.npz' is damaged, or of another release: No module named .*of_a_later_release")
    (damaged / "images.npz").unlink()
    refused(damaged, r"images.npz' is missing, so .* can't be compared")
    (damaged / "results.json").write_text('{"task": 1}')
    refused(damaged, r"results.json' is damaged")


def test_both_folders_have_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", "only-one"]) == 2
    assert "Missing: B" in capsys.readouterr().err
