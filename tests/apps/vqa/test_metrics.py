"""Figures of answers on four images that were worked out by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from onetrunk.apps.card import Card, print_card
from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.evaluation import Evaluation, Piece, join_pieces
from onetrunk.apps.intervals import bootstrap
from onetrunk.apps.vqa.metrics import VqaEvaluator, make_evaluator, rebuild_evaluator
from onetrunk.backbones import UserError
from onetrunk.datasets import Batch, Context, DataError, Question

ANSWERS = ["yes", "no", "2", "1 way"]
TRAINING = [
    [Question("Is it red?", ("yes",)), Question("Is it red?", ("yes",)), Question("Is it big?", ("no",))],
    [Question("How many?", ("Two",)), Question("How many?", ("two",)), Question("What sign?", ("one way",))],
    [Question("Is it big?", ("no",)), Question("Is it on?", ("yes",))],
]


def people(**counts: int) -> tuple[str, ...]:
    given = tuple(answer for answer, count in counts.items() for _ in range(count))
    return given + tuple(f"other{place}" for place in range(10 - len(given)))


def vqa(text: str, answers: tuple[str, ...], answer_type: str, question_type: str, number: int) -> Question:
    return Question(text, answers, question_type, answer_type, number)


#: The questions of each image, each with the place of the answer that the model gives.
CASES = [
    # right, where who reads the question alone is wrong and who always says yes is wrong too
    [(vqa("Is it red?", ("no",), "yes/no", "is it", 1), 1)],
    # two of ten gave it: 0.6; the prior says no, which one gave: 0.3; yes is the rest: 1
    [
        (vqa("Is it big?", people(two=1, Two=1, no=1, yes=7), "yes/no", "is it", 2), 2),
        (vqa("How many?", ("2",), "number", "how many", 3), 2),
    ],
    # all wrote the same, and so does the model; the second has no answer, of the third none is known
    [
        (vqa("What sign?", ("one way",) * 10, "other", "what", 4), 3),
        (Question("And now?"), 0),
        (Question("Where?", ("Paris, France",)), 0),
    ],
    [],
]


def batch_of(cases: list, start: int) -> tuple[dict[str, torch.Tensor], Batch]:
    told = [place for questions in cases for _, place in questions]
    logits = torch.full((len(told), 4), -1.0)
    logits[torch.arange(len(told)), torch.tensor(told, dtype=torch.int64)] = 3.0
    sizes = torch.full((len(cases), 2), 32)
    batch = Batch(
        images=None,
        features=None,
        context=Context((32, 32), sizes, sizes),
        targets={"questions": [tuple(question for question, _ in questions) for questions in cases]},
        indices=torch.arange(start, start + len(cases)),
        names=[f"{start + place}.png" for place in range(len(cases))],
    )
    return {"logits": logits}, batch


def evaluate(evaluator: VqaEvaluator, batch_size: int = 4, cases: list = CASES) -> Evaluation:
    pieces = []
    for start in range(0, len(cases), batch_size):
        output, batch = batch_of(cases[start : start + batch_size], start)
        pieces.append(Piece(batch.indices.numpy(), batch.names, evaluator.collect(output, batch), [], 0.0))
    return evaluator.evaluate(join_pieces(pieces)[0])


def test_the_figure_is_the_mean_over_questions_that_have_answers() -> None:
    evaluation = evaluate(make_evaluator(TRAINING, ANSWERS))
    assert evaluation.metrics["vqa_accuracy"].value == pytest.approx((1 + 0.6 + 1 + 1 + 0) / 5)
    assert list(evaluation.metrics) == ["vqa_accuracy"]
    assert evaluation.primary == "vqa_accuracy"
    assert evaluation.used == 4


def test_intervals_come_from_resampling_images_as_everywhere() -> None:
    evaluator = make_evaluator(TRAINING, ANSWERS)
    evaluation = evaluate(evaluator)
    rows = evaluation.images.rows
    again = bootstrap(lambda weights: evaluator.measure(rows, weights), 4)["vqa_accuracy"]
    assert again.low == pytest.approx(evaluation.metrics["vqa_accuracy"].low, abs=1e-12)
    assert again.high == pytest.approx(evaluation.metrics["vqa_accuracy"].high, abs=1e-12)
    assert again.low < again.value < again.high
    assert evaluator.per_class(rows) == evaluation.per_class
    assert evaluator.details(rows) == evaluation.details


def test_baselines_see_no_picture() -> None:
    baselines = evaluate(make_evaluator(TRAINING, ANSWERS)).details["baselines"]
    # "Is it red?" yes, "Is it big?" no, "How many?" Two, "What sign?" asked once: yes, "Where?" yes
    assert baselines["question_only"]["vqa_accuracy"]["value"] == pytest.approx((0 + 0.3 + 1 + 0 + 0) / 5)
    # always yes
    assert baselines["majority"]["vqa_accuracy"]["value"] == pytest.approx((0 + 1 + 0 + 0 + 0) / 5)
    gain = baselines["question_only"]["gain"]["vqa_accuracy"]
    assert gain["value"] == pytest.approx((1 + 0.3 + 0 + 1 + 0) / 5)
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert 0 < gain["p_value"] <= 1


def test_types_of_answers_and_questions_have_rows_where_they_are_told() -> None:
    rows = evaluate(make_evaluator(TRAINING, ANSWERS)).per_class
    assert [(row["class"], row["questions"], row["vqa_accuracy"]["value"]) for row in rows] == [
        ("answer type yes/no", 2, pytest.approx(0.8)),
        ("answer type number", 1, 1),
        ("answer type other", 1, 1),
        ("question type is it", 2, pytest.approx(0.8)),
        ("question type how many", 1, 1),
        ("question type what", 1, 1),
    ]
    assert rows[0]["vqa_accuracy"]["low"] == pytest.approx(0.6)


def test_of_many_types_the_most_frequent_have_rows() -> None:
    cases = [[(vqa("Is it?", ("yes",), "", f"type {place}", place), 0)] for place in range(70)]
    rows = evaluate(make_evaluator(TRAINING, ANSWERS), cases=[*cases, cases[69]]).per_class
    assert len(rows) == 65
    assert rows[0]["class"] == "question type type 69"


def test_the_card_says_which_answers_there_are() -> None:
    details = evaluate(make_evaluator(TRAINING, ANSWERS)).details
    assert details["answers"] == {"known": 4, "out_of_reach": pytest.approx(1 / 5), "distinct_predicted": 4}
    assert details["notes"] == ["1 of 6 questions have no answer and don't count"]


def test_predictions_hold_each_question_with_what_people_said() -> None:
    predictions = evaluate(make_evaluator(TRAINING, ANSWERS)).predictions
    assert predictions[3] == {"image": "3.png", "answers": []}
    assert predictions[1]["answers"][1] == {
        "question": "How many?",
        "answer": "Two",  # people write it with and without a capital, and capitals come first by alphabet
        "probability": pytest.approx(0.948, abs=1e-3),
        "accuracy": 1.0,
        "answers": ["2"],
        "question_only": "Two",
        "question_type": "how many",
        "answer_type": "number",
        "question_id": 3,
    }
    assert predictions[2]["answers"][0]["answer"] == "one way"
    assert "accuracy" not in predictions[2]["answers"][1]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_change_nothing(batch_size: int) -> None:
    evaluator = make_evaluator(TRAINING, ANSWERS)
    whole, parts = evaluate(evaluator), evaluate(evaluator, batch_size)
    assert parts.metrics == whole.metrics
    assert parts.per_class == whole.per_class
    assert parts.details == whole.details
    assert parts.predictions == whole.predictions


def test_the_truth_of_an_image_is_its_questions_and_answers() -> None:
    evaluator = make_evaluator(TRAINING, ANSWERS)
    hashes = evaluate(evaluator).images.rows["truth_hash"]
    others = [[(vqa("Is it red?", ("yes",), "", "", 1), 1)], *CASES[1:]]
    assert (evaluate(evaluator, cases=others).images.rows["truth_hash"] == hashes).tolist() == [False, True, True, True]
    told_otherwise = [[(question, 0) for question, _ in questions] for questions in CASES]
    assert (evaluate(evaluator, cases=told_otherwise).images.rows["truth_hash"] == hashes).all()


def test_without_any_answer_there_is_no_figure() -> None:
    evaluation = evaluate(make_evaluator(TRAINING, ANSWERS), cases=[[(Question("Is it?"), 0)], []])
    assert evaluation.metrics == {}
    assert evaluation.details["answers"]["out_of_reach"] is None
    assert evaluation.details["notes"] == ["1 of 1 questions have no answer and don't count"]


def test_in_training_the_texts_are_left_out_and_the_figure_stays() -> None:
    evaluator = make_evaluator(TRAINING, ANSWERS)
    whole = evaluate(evaluator).metrics["vqa_accuracy"].value
    evaluator.is_brief = True
    output, batch = batch_of(CASES, 0)
    rows = evaluator.collect(output, batch)
    assert "asked" not in rows
    images, _ = join_pieces([Piece(batch.indices.numpy(), batch.names, rows, [], 0.0)])
    assert evaluator.values(images) == {"vqa_accuracy": pytest.approx(whole)}


def test_nearness_in_meaning_is_measured_where_wordnet_is_there() -> None:
    evaluator = make_evaluator([[Question("What is it?", ("chair, table",))]], ["chair table", "cat"])
    # all nouns are as near as two things that are both kinds of furniture, which is an entity
    evaluator.wordnet = SimpleNamespace(similarity=lambda first, second: 2 * 2 / (3 + 3))
    cases = [
        [(Question("What is it?", ("table, chair",)), 0), (Question("What is it?", ("table",)), 0)],
        [(Question("What is it?", ("cat",)), 1), (Question("What?"), 1)],
    ]
    logits = torch.eye(2)[[0, 0, 1, 1]]
    _, batch = batch_of(cases, 0)
    images, _ = join_pieces(
        [Piece(batch.indices.numpy(), batch.names, evaluator.collect({"logits": logits}, batch), [], 0.0)]
    )
    evaluation = evaluator.evaluate(images)
    # the same set 1; chair is near to table by 2 * 2 / (3 + 3), a tenth of it below 0.9; the same 1
    assert evaluation.metrics["wups_0"].value == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert evaluation.metrics["wups"].value == pytest.approx((1 + 0.2 / 3 + 1) / 3)
    assert evaluation.metrics["vqa_accuracy"].value == pytest.approx(1 / 3)
    assert evaluation.predictions[0]["answers"][1]["wups_0"] == pytest.approx(2 / 3)
    assert evaluation.predictions[0]["answers"][1]["answer"] == "chair, table"


def test_what_a_run_keeps_makes_the_same_evaluator_and_figures(tmp_path: Path) -> None:
    evaluator = make_evaluator(TRAINING, ANSWERS, readout="sigmoid")
    evaluation = evaluate(evaluator)
    evaluation.images.save(tmp_path / "images.npz", evaluator)
    images, again = read_images(tmp_path / "images.npz")
    assert again.description() == evaluator.description() == rebuild_evaluator(evaluator.description()).description()
    assert again.description()["classes"] == []
    assert again.description()["prior"]["majority"] == "yes"
    assert again.evaluate(images).metrics == evaluation.metrics
    assert again.evaluate(images).predictions == evaluation.predictions


def test_models_that_know_other_answers_are_compared_all_the_same() -> None:
    evaluator = make_evaluator(TRAINING, ANSWERS)
    assert evaluator.judges_as(make_evaluator(TRAINING[:1], ["yes"], readout="sigmoid"))


def test_probabilities_follow_the_loss() -> None:
    [image] = evaluate(make_evaluator(TRAINING, ANSWERS, readout="sigmoid"), cases=CASES[:1]).predictions
    assert image["answers"][0]["probability"] == pytest.approx(0.952574, abs=1e-6)  # of a logit of 3


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UserError, match=r"Unknown metric for --select 'wups'. Known: vqa_accuracy"):
        make_evaluator(TRAINING, ANSWERS, select="wups")


def test_training_questions_without_answers_are_refused() -> None:
    with pytest.raises(DataError, match=r"None of the 1 questions has an answer"):
        make_evaluator([[Question("Is it?")]], ANSWERS)


def test_types_and_baselines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = evaluate(make_evaluator(TRAINING, ANSWERS))
    cost = {
        "parameters": 1,
        "trained_parameters": 0,
        "images_per_second": 1.0,
        "peak_memory_mib": 1.0,
        "seconds": 1.0,
    }
    print_card(
        Card(
            task="vqa",
            split="val",
            selected_on=None,
            metrics={name: vars(estimate) for name, estimate in evaluation.metrics.items()},
            per_class=evaluation.per_class,
            samples={"used": 4, "skipped": 0, "skipped_files": []},
            cost=cost,
            backbone={"name": "tiny", "weights": "none"},
            data={"path": "pictures"},
            details=evaluation.details,
        )
    )
    printed = capsys.readouterr().out
    assert "answer type yes/no" in printed
    assert "question_only vqa_accuracy 0.2600" in printed
    assert "1 of 6 questions have no answer" in printed
