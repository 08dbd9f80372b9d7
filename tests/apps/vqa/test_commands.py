"""The commands of visual question answering from end to end, as a person types them."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from onetrunk.apps import load_model, vqa
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.vqa.opening import require_answers
from onetrunk.backbones import UserError
from onetrunk.datasets import DataError, Question, open_dataset
from PIL import Image

WORDS = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()
COLOURS = ((7, "blue"), (8, "green"), (9, "red"))
SMALL = "--head-options.width 16 --head-options.embedding 8 --epochs 1".split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["vqa", "train", "--data", str(data), "--output", str(run), *WORDS, *more])


def use(command: str, model: Path, *more: str) -> int:
    return main(["vqa", command, "--model", str(model), "--workers", "0", "--device", "cpu", *more])


def read_json(path: Path):
    return json.loads(path.read_text())


def write_table(path: Path, rows: list[str], columns: str = "path,question,answer,split") -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def test_it_learns_and_the_card_says_what_the_picture_adds(answered_run: Path) -> None:
    card = read_json(answered_run / "results.json")
    assert (card["task"], card["primary"]) == ("vqa", "vqa_accuracy")
    assert card["metrics"]["vqa_accuracy"]["value"] > 0.9
    assert card["samples"]["used"] == 15
    assert {row["class"] for row in card["per_class"]} >= {"answer type yes/no", "question type how many"}
    row = read_json(answered_run / "predictions.json")[0]
    assert row["answers"][0]["question"] == "What colour is the disc?"


def test_training_says_what_it_has(question_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(question_table, tmp_path / "run", *SMALL, "--head-options.answers", "4") == 0
    said = capsys.readouterr().out
    assert "99 training questions, 4 answers, 33 train, 15 val images" in said
    assert "22 of 99 training questions have none of the 4 answers; they are not learned" in said


@pytest.mark.parametrize("name", ["answered_run", "attentive_run"])
def test_evaluate_repeats_the_figures_whatever_the_batch(
    name: str, question_table: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(name)
    expected = read_json(run / "results.json")["metrics"]
    for batch_size in ("1", "4", "7"):
        out = tmp_path / batch_size
        words = ["--data", str(question_table), "--output", str(out), "--batch-size", batch_size]
        assert use("evaluate", run, *words) == 0
        for metric, estimate in read_json(out / "results.json")["metrics"].items():
            assert estimate == pytest.approx(expected[metric], abs=1e-6), metric


def test_a_new_process_rebuilds_the_model_without_a_network(attentive_run: Path, pictures: Path) -> None:
    image = pictures / "val" / "red" / "00.png"
    words = ["--model", str(attentive_run), "--images", str(image), "--question", "Is the disc red?", "Où est-il ?"]
    command = [sys.executable, "-m", "onetrunk.apps.cli", "vqa", "predict", *words, "--workers", "0", "--device", "cpu"]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "ONETRUNK_OFFLINE": "1"}
    )
    row = json.loads(ended.stdout.splitlines()[-1])
    assert [entry["question"] for entry in row["answers"]] == ["Is the disc red?", "Où est-il ?"]
    here = vqa.predict(
        vqa.PredictOptions(model=str(attentive_run), images=[str(image)], question=words[5:], workers=0, device="cpu")
    )
    assert [entry["answer"] for entry in here[0]["answers"]] == [entry["answer"] for entry in row["answers"]]


@pytest.mark.parametrize("name", ["answered_run", "attentive_run"])
def test_predict_answers_every_question_about_every_picture(
    name: str, pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    images = [str(pictures / "val" / colour / "00.png") for colour in ("blue", "green", "red")]
    asked = ["What colour is the disc?", "How  many discs are there?"]
    words = ["--output", str(tmp_path), "--images", *images, "--question", *asked]
    run = request.getfixturevalue(name)
    assert use("predict", run, *words) == 0
    rows = read_json(tmp_path / "predictions.json")
    assert [row["image"] for row in rows] == images
    for row in rows:
        assert [entry["question"] for entry in row["answers"]] == [asked[0], "How many discs are there?"]
        assert set(row["answers"][0]) == {"question", "answer", "probability", "top"}
        assert len(row["answers"][0]["top"]) == 5
    if name == "answered_run":
        assert [row["answers"][0]["answer"] for row in rows] == ["blue", "green", "red"]
        assert {row["answers"][1]["answer"] for row in rows} == {"1"}
    with (tmp_path / "predictions.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0])[:5] == ["image", "error", "question", "answer", "probability"]
    assert [(row["image"], row["question"]) for row in table][:2] == [
        (images[0], asked[0]),
        (images[0], "How many discs are there?"),
    ]
    assert table[0]["top1_answer"] == table[0]["answer"]
    with Image.open(tmp_path / "pictures" / "blue" / "00.png") as drawn:
        assert min(drawn.size) > 240
    assert use("predict", run, *words) == 2
    assert use("predict", run, *words, "--overwrite") == 0


def test_the_questions_of_a_data_set_are_answered_by_their_numbers(
    answered_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"{pictures / 'val' / colour / '00.png'},What colour is the disc?,,{place},test" for place, colour in COLOURS
    ]
    table = write_table(tmp_path / "t.csv", rows, "path,question,answer,question_id,split")
    assert use("predict", answered_run, "--data", str(table), "--split", "test", "--output", str(tmp_path / "out")) == 0
    assert sorted(read_json(tmp_path / "out" / "answers.json"), key=lambda row: row["question_id"]) == [
        {"question_id": place, "answer": colour} for place, colour in COLOURS
    ]
    assert use("predict", answered_run, "--data", str(table), "--question", "Is it red?") == 2
    assert "--data brings images and questions of its own" in capsys.readouterr().err
    assert use("predict", answered_run, "--images", "a.png", "--question", "What?", "--split", "val") == 2
    assert "--split: has no effect without --data" in capsys.readouterr().err


def test_evaluate_writes_the_answers_of_numbered_questions(answered_run: Path, pictures: Path, tmp_path: Path) -> None:
    rows = [f"{pictures / 'val' / colour / '00.png'},Is the disc red?,no,{place},val" for place, colour in COLOURS]
    table = write_table(tmp_path / "t.csv", rows, "path,question,answer,question_id,split")
    assert use("evaluate", answered_run, "--data", str(table), "--output", str(tmp_path / "out")) == 0
    assert {row["question_id"] for row in read_json(tmp_path / "out" / "answers.json")} == {7, 8, 9}


def test_an_unreadable_picture_keeps_a_row_in_the_table(answered_run: Path, pictures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"")
    out = tmp_path / "out"
    words = ["--images", str(broken), str(pictures / "val" / "red" / "00.png"), "--question", "Is the disc red?"]
    assert use("predict", answered_run, *words, "--output", str(out), "--bad-data", "skip") == 0
    with (out / "predictions.csv").open() as stream:
        table = {Path(row["image"]).name: row for row in csv.DictReader(stream)}
    assert table["a.png"]["error"]
    assert table["00.png"]["question"] == "Is the disc red?"


def test_a_frozen_trunk_is_proven_frozen(attentive_run: Path, answered_run: Path) -> None:
    frozen, trained = (read_json(run / "results.json")["backbone"] for run in (attentive_run, answered_run))
    assert frozen["fingerprint_before"] == frozen["fingerprint_after"]
    assert trained["fingerprint_before"] != trained["fingerprint_after"]


def test_the_model_and_the_images_say_who_judges_them(answered_run: Path) -> None:
    task = load_model(answered_run / "model")
    images, evaluator = read_images(answered_run / "images.npz")
    assert task.evaluator.description() == evaluator.description()
    assert len(images) == 15


def test_a_run_is_resumed_only_when_it_was_asked_for(
    attentive_run: Path, question_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--head stacked_attention --freeze all --epochs 2 --image-size 64 --resize pad --loss.name soft".split()
    words += "--head-options.level c4 --head-options.question-encoder transformer".split()
    words += "--head-options.width 16 --head-options.layers 1".split()
    assert train(question_table, attentive_run, *words) == 2
    assert "already holds a finished run" in capsys.readouterr().err
    assert train(question_table, attentive_run, *words, "--resume") == 0
    assert "nothing was left to do" in capsys.readouterr().out


def test_long_questions_are_cut_and_it_says_so(
    answered_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, long = pictures / "val" / "red" / "00.png", "Is the disc red " * 1250
    assert use("predict", answered_run, "--images", str(image), "--question", long, "What colour is the disc?") == 0
    said = capsys.readouterr().out
    assert "1 of 2 questions is longer than the 30 words or pieces that are read of each" in said
    assert json.loads(said.splitlines()[-1])["answers"][1]["answer"] == "red"


@pytest.mark.parametrize("question", ["", "  "])
def test_a_question_without_words_is_refused(
    question: str, answered_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(pictures / "val" / "red" / "00.png")
    assert use("predict", answered_run, "--images", image, "--question", "What is it?", question) == 2
    assert "A question has no words" in capsys.readouterr().err


def test_predict_needs_a_question(answered_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert use("predict", answered_run, "--images", "a.png") == 2
    assert "Missing: --question" in capsys.readouterr().err


def test_questions_without_answers_are_neither_learned_nor_judged(
    answered_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, bare = (pictures / "train" / "red" / name for name in ("00.png", "01.png"))
    other = pictures / "val" / "red" / "00.png"
    asked = "What colour is the disc?"
    rows = [f"{image},{asked},red,train", f"{image},Where is it?,,train", f"{bare},Where is it?,,train"]
    table = write_table(tmp_path / "t.csv", [*rows, f"{other},{asked},red,val"])
    assert train(table, tmp_path / "run", *SMALL) == 0
    said = capsys.readouterr().out
    assert "2 of 4 questions have no answer" in said
    assert "not learned" not in said
    words = ("--data", str(table), "--split", "train", "--output", str(tmp_path / "out"))
    assert use("evaluate", answered_run, *words) == 0
    card = read_json(tmp_path / "out" / "results.json")
    assert card["details"]["notes"] == ["2 of 3 questions have no answer and don't count"]
    assert card["metrics"]["vqa_accuracy"]["value"] == 1


def test_a_split_without_answers_is_refused(
    answered_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, other = pictures / "train" / "red" / "00.png", pictures / "val" / "red" / "00.png"
    table = write_table(tmp_path / "t.csv", [f"{image},Is it red?,yes,train", f"{other},Where is it?,,val"])
    message = f"no question of 'val' has an answer, e.g. 'Where is it?' about {other}"
    assert train(table, tmp_path / "run", *SMALL) == 2
    assert message in capsys.readouterr().err
    assert use("evaluate", answered_run, "--data", str(table)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resize crop", "crop"),
        ("--head sum", "sum"),
        ("--sampling balanced", "--sampling balanced draws classes equally often, and text has none"),
        ("--head-options.hops 3", "--head-options.hops: has no effect without --head stacked_attention"),
        ("--head-options.attention-heads 2", "has no effect without --head-options.question-encoder transformer"),
        ("--head-options.language-model bert", "has no effect without --head-options.question-encoder transformer"),
        ("--head-options.train-language-model", "has no effect without --head-options.language-model"),
        (
            "--head-options.question-encoder transformer --head-options.embedding 8",
            "--head-options.embedding: has no effect without --head-options.question-encoder lstm",
        ),
        (
            "--head-options.question-encoder transformer --head-options.width 20 --head-options.attention-heads 3",
            "20 isn't a multiple of 3",
        ),
        ("--head-options.width 18", "--head-options.width takes a multiple of 4, not 18"),
        ("--head-options.answers 0", "--head-options.answers takes 1 or more, not 0"),
        ("--head-options.max-tokens 0", "--head-options.max-tokens takes 1 or more, not 0"),
        ("--head-options.min-count 1000", "None of the 99 texts has a word that occurs 1000 times"),
        ("--head-options.level c9", "'c9'"),
        (
            "--head stacked_attention --head-options.level embedding",
            "--head stacked_attention looks around in a map, and 'embedding' of timm/test_resnet is a vector of",
        ),
        ("--select top1", "top1"),
        ("--loss.name hinge", "hinge"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    words: str, message: str, question_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(question_table, tmp_path / "run", *words.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nearness_in_meaning_needs_wordnet(
    answered_run: Path, question_table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nltk.data.path", [])
    assert use("evaluate", answered_run, "--data", str(question_table), "--wups") == 2
    assert "WUPS takes WordNet, and NLTK finds none" in capsys.readouterr().err


def test_nearness_in_meaning_is_a_figure_where_wordnet_is_there(
    answered_run: Path, question_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = SimpleNamespace(similarity=lambda first, second: 0.5)
    monkeypatch.setattr("onetrunk.apps.vqa.evaluation.read_wordnet", lambda: alike)
    # what never was an answer in training, so that whatever is said is wrong, and half as near as can be
    text = question_table.read_text()
    (tmp_path / "strange.csv").write_text(re.sub(r"\?,\w+,", "?,gizmo,", text))
    words = ("--data", str(tmp_path / "strange.csv"), "--wups", "--output", str(tmp_path / "figures"))
    assert use("evaluate", answered_run, *words) == 0
    metrics = read_json(tmp_path / "figures" / "results.json")["metrics"]
    assert metrics["wups_0"]["value"] == pytest.approx(0.5)
    assert metrics["wups"]["value"] == pytest.approx(0.05)


def test_images_about_which_nothing_is_asked_are_named(question_table: Path) -> None:
    images = open_dataset(question_table, "train", kind="questions")
    record = images.records[3]
    for asked, message in (
        ((), "the image has no question; .*questions.csv gives it none"),
        ((Question("", ("yes",)),), "a question about the image has no words"),
    ):
        records = (*images.records[:3], replace(record, targets={"questions": asked}))
        with pytest.raises(DataError, match=message):
            require_answers(replace(images, splits={"train": records}))


def test_an_evaluation_needs_a_model() -> None:
    with pytest.raises(UserError, match="Give the model to evaluate: --model RUN"):
        vqa.EvaluateOptions(data="d")


def test_pictures_are_neither_mirrored_nor_cropped_unless_asked_for() -> None:
    options = vqa.TrainOptions(data="d")
    assert (options.augment.flip, options.augment.min_scale) == (0, 1)
