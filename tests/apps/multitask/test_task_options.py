"""Of a training of several tasks the options of each, and what none of them may set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onetrunk.apps.cli import main
from onetrunk.apps.config import FitOptions, OptimOptions
from onetrunk.apps.multitask import TrainOptions
from onetrunk.apps.multitask.options import BalanceOptions, EvaluateOptions, JointAugmentOptions, JointFitOptions
from onetrunk.apps.multitask.task_options import TaskPlan, plan_tasks
from onetrunk.backbones.errors import UserError

TASKS = ["classification", "segmentation"]


def plans(task_options: dict[str, Any] | None = None, **more: Any) -> dict[str, TaskPlan]:
    given = {"data": "all/", "tasks": TASKS, "backbone": "timm/test_resnet", "weights": "none", **more}
    return plan_tasks(TrainOptions(**given, task_options=task_options or {}))


def test_tasks_share_what_is_given_for_all_and_keep_what_is_their_own() -> None:
    found = plans(
        {"segmentation": {"data": "masks/", "learning-rate": 0.5, "head_options": {"width": 16}}},
        learning_rate=0.25,
        epochs=7,
        image_size=[64, 96],
        seed=3,
        optim=OptimOptions(weight_decay=0.1, name="sgd"),
        fit=FitOptions(patience=4),
    )
    assert list(found) == TASKS
    labels, masks = (found[task].options for task in TASKS)
    assert (labels.data, masks.data) == ("all/", "masks/")
    assert (labels.learning_rate, masks.learning_rate) == (0.25, 0.5)
    assert masks.head_options.width == 16
    for options in (labels, masks):
        assert (options.epochs, options.image_size, options.seed, options.resize) == (7, [64, 96], 3, "pad")
        assert (options.optim.weight_decay, options.fit.patience) == (0.1, 4)


@pytest.mark.parametrize("name", ["clip_norm", "clip-norm"])
def test_a_task_has_its_own_clipping_patience_and_decay(name: str) -> None:
    own = {"optim": {"weight-decay": 0.0}, "fit": {name: 0.5, "patience": 1}}
    found = plans({"segmentation": own}, optim=OptimOptions(weight_decay=0.1), fit=FitOptions(clip_norm=2.0))
    labels, masks = (found[task].options for task in TASKS)
    assert (labels.optim.weight_decay, labels.fit.clip_norm, labels.fit.patience) == (0.1, 2.0, None)
    assert (masks.optim.weight_decay, masks.fit.clip_norm, masks.fit.patience) == (0.0, 0.5, 1)


def test_tasks_that_are_not_named_are_those_of_the_options() -> None:
    options = TrainOptions(task_options={"vqa": {"data": "a"}, "captioning": {"data": "b"}})
    assert options.tasks == ["vqa", "captioning"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"backbone": "vgg16"}, r"classification sets backbone, which all tasks share\. Give it once .*: --backbone"),
        (
            {"image-size": [32]},
            r"classification sets image_size, which all tasks share\. Give it .*: --image-size",
        ),
        ({"config": "f.yaml"}, r"classification names another file by 'config', which isn't read\. Write the options"),
        ({"data": None}, r"data of classification is the path of a data set, not None\. Leave it out where --data is"),
        ({"head_options": 3}, r"task_options of classification: --head-options takes names with values, .*, not 3\."),
        ({"resume": True}, r"classification sets resume, which is nothing for one of several tasks\."),
        ({"sweep": {"learning_rates": [1.0]}}, r"sets sweep, which is nothing for one of several tasks\."),
        ({"cache": "on"}, r"sets cache, which is nothing for one of several tasks\."),
        (
            {"fit": {"accumulate": 2}},
            r"Unknown option of classification in its own fit 'accumulate'\. Known: clip_",
        ),
        ({"optim": {"weigth_decay": 0}}, r"own optim 'weigth_decay'\. .* Did you mean 'weight_decay'\?"),
        ({"optim": 3}, r"--task-options: optim of classification is .*weight_decay.*, not 3\."),
        ({"fit": None}, r"--task-options: fit of classification is .*clip_norm.*, not None\."),
        (
            {"lerning_rate": 1},
            r"task_options of classification: .*Did you mean '--learning-rate'\? See: onetrunk classification train",
        ),
        ({"head": "lineer"}, r"task_options of classification: .*lineer"),
        ({"head_options": {"widht": 3}}, r"task_options of classification: .*widht"),
        ({"head_options": {"hidden": 3}}, r"task_options of classification: --head-options.hidden: has no effect"),
        ({"learning_rate": -1}, r"task_options of classification: --learning-rate takes 0 or more, not -1"),
        (3, r"those of classification are names with values, such as \{data: DIR\}, not 3\."),
        (None, r"those of classification are names with values, such as \{data: DIR\}, not None\."),
        (
            {"augment": {"mixup": 0.2}},
            r"classification sets augment.mixup, which mixes whole pictures .* several tasks",
        ),
    ],
)
def test_what_a_task_cannot_set_is_refused(own: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plans({"classification": own})


def test_tasks_without_a_mapping_of_options_are_refused_before_their_data_are_looked_for() -> None:
    with pytest.raises(UserError, match=r"those of vqa are names with values, such as \{data: DIR\}, not 'dir'"):
        TrainOptions(task_options={"vqa": "dir"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": []}, r"Give the tasks: --tasks with some of captioning, .*vqa\."),
        ({"tasks": ["clasification"]}, r"Unknown task 'clasification'\. .* Did you mean 'classification'\?"),
        ({"tasks": ["vqa", "vqa"]}, r"--tasks names vqa twice, and a model has one head of an app\."),
        ({"task_options": {"vqua": {}}}, r"Unknown task 'vqua'\. .*Did you mean 'vqa'\?"),
        (
            {"task_options": {"vqa": {}}},
            r"--task-options has options of vqa, which isn't among --tasks classification segmentation\.",
        ),
        (
            {"data": "", "task_options": {"segmentation": {"data": "d"}}},
            r"No data for classification\. Give a data set for all tasks, .*\{classification: \{data: DIR\}\}",
        ),
        ({"mix_weights": [1.0]}, r"--mix-weights: has no effect without --mix weights"),
        ({"mix": "weights"}, r"--mix weights takes a weight for each data set: --mix-weights 2 1"),
        (
            {"mix": "sqrt"},
            r"--mix sqrt: all tasks learn from one data set, whose pictures are seen once an epoch each\. Leave it out",
        ),
        ({"mix": "weights", "mix_weights": [1.0]}, r"--mix weights: all tasks learn from one data set"),
        (
            {"fit": JointFitOptions(accumulate=2), "task_options": {"segmentation": {"data": "other"}}},
            r"--fit.accumulate 2: with several data sets a step takes batches of several already\. .*: --batch-size",
        ),
        (
            {"fit": JointFitOptions(accumulate=4), "balance": BalanceOptions(aggregation="mgda")},
            r"--fit.accumulate 4: --balance.aggregation mgda would act on each of a step's batches by itself\. ",
        ),
        (
            {"tasks": ["vqa"], "balance": BalanceOptions(weights=[2.0])},
            r"--balance.weights: vqa is the only task, and there is nothing to balance it against\. Leave it out\.",
        ),
        ({"mix": "some"}, r"Unknown value of --mix 'some'"),
        (
            {"balance": BalanceOptions(weights=[1.0, 2.0, 0.5])},
            r"--balance.weights takes one for each of classification, segmentation, not 3: 1 2 0\.5\.",
        ),
        ({"seeds": [1, 2]}, r"--seeds, --folds and --sweep repeat the training of a single task\..* for each --seed"),
        ({"folds": 2}, r"--seeds, --folds and --sweep repeat the training of a single task"),
        ({"sampling": "balanced"}, r"--sampling balanced draws by the classes of a single task\. .* see --mix"),
        ({"devices": 2}, r"--devices 2 --num-nodes 1: several tasks train in one process, .*Leave it out"),
        ({"num_nodes": 2}, r"--devices 1 --num-nodes 2: several tasks train in one process, .*Leave it out"),
        *(
            ({"freeze": "all", "balance": balance}, rf"--balance.{name}: the trunk is frozen, .*--freeze c3")
            for name, balance in (
                ("weights", BalanceOptions(weights=[1.0, 2.0])),
                ("method", BalanceOptions(method="uncertainty")),
                ("aggregation", BalanceOptions(aggregation="pcgrad")),
            )
        ),
    ],
)
def test_what_several_tasks_cannot_have_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainOptions(**{"data": "d", "tasks": TASKS, **given})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (EvaluateOptions, r"Give the model to evaluate: --model RUN\."),
        (lambda: EvaluateOptions(model="m", tasks=["vqu"]), r"Unknown task 'vqu'\."),
        (lambda: EvaluateOptions(model="m", alone=["a"]), r"--alone compares what is written: add --output DIR\."),
        (lambda: JointAugmentOptions(min_zoom=2.0), r"--augment.min-zoom is above 0 and at most --augment.max-zoom"),
    ],
)
def test_other_options_that_mean_nothing_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_word_in_place_of_names_with_values_is_answered_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multitask", "train", "--data", "d", "--tasks", *TASKS, "--task-options", "segmentation"]) == 2
    said = capsys.readouterr().err
    assert "--task-options takes names with values, in a YAML file {name: {option: value}}, not 'segmentation'" in said


def test_the_command_line_says_it_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = json.dumps({"classification": {"epochs": 3}})
    words = ["--data", "d", "--tasks", *TASKS, "--task-options", own, "--output", str(tmp_path / "run")]
    assert main(["multitask", "train", *words]) == 2
    said = capsys.readouterr().err
    assert "--task-options: classification sets epochs, which all tasks share. Give it once for all: --epochs" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()
