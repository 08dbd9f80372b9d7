"""The options of the multitask commands; what all apps share is in ``apps/config.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal

from ...backbones.errors import UserError, unknown
from ..config import CheckedOptions, EvaluationOptions, FitOptions, PredictionOptions, TrainingOptions, ZoomOptions
from ..option_checks import check_effect, check_range, is_default, may_be_several
from ..task_names import TASKS

Aggregation = Literal["none", "aligned_mtl", "config", "graddrop", "imtlg", "mgda", "pcgrad", "upgrad"]


@dataclass(kw_only=True)
class OutputOptions(CheckedOptions):
    """Where a model is written."""

    output: str
    """The folder for the model."""
    overwrite: bool = False
    """Write over a model that the folder already holds."""


@dataclass(kw_only=True)
class JoinOptions(OutputOptions):
    """Make one model of several that were trained on the same frozen trunk."""

    models: list[str]
    """Run folders or model folders, at least two, of different apps."""

    def __post_init__(self) -> None:
        """Refuse to join less than two."""
        super().__post_init__()
        if len(self.models) < 2:
            raise UserError("--models takes two models or more, such as: --models runs/labels runs/masks")


@dataclass(kw_only=True)
class AddOptions(OutputOptions):
    """Put one more head into a model; the others stay as they are, to the bit."""

    model: str
    """The folder of the model that gets the head."""
    head: str | None = None
    """The run folder or model folder of a head that was trained on the same trunk."""
    task: str | None = None
    """In place of --head: the app of a head that is trained now, on the model's frozen trunk and canvas; its run lies
    in OUTPUT/TASK."""
    data: str | None = None
    """With --task: the data set to train it on."""
    training: str | None = None
    """With --task: a YAML file with more options of the app's train command, such as epochs: 20."""
    resume: bool = False
    """With --task: go on with the training that was stopped."""

    def __post_init__(self) -> None:
        """Refuse no head, two of them, and options without effect."""
        super().__post_init__()
        if self.head is not None and self.task is not None:
            raise UserError("--head brings a trained head, and --task trains one: give one of them.")
        if self.head is None and (self.task is None or self.data is None):
            raise UserError(
                "Give the head to put in: --head RUN. Or train one on the model's trunk: --task captioning --data DIR"
            )
        check_effect(self, "data", "training", "resume", has_effect=self.task is not None, needs="--task")
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other: go on with the training, or replace it.")


@dataclass(kw_only=True)
class TakeOutOptions(OutputOptions):
    """Write one head and its trunk as an ordinary model of its app."""

    model: str
    """The folder of the model that has the head."""
    task: str
    """The head's app, such as segmentation."""


@dataclass(kw_only=True)
class PredictOptions(PredictionOptions):
    """Run all heads of a model over images, each of which the trunk sees once."""

    batch_size: int = 8
    """Images a step."""
    questions: list[str] = field(default_factory=list)
    """What is asked about every image, each question in quotes; without any, a head of vqa doesn't run."""
    threshold: float = 0.5
    """Of detection: what the model is surer of than this is written and drawn."""
    opacity: float = 0.5
    """Of segmentation: of the colours over the picture in an overlay."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "threshold", "opacity", most=1)
        if not all(text.strip() for text in self.questions):
            raise UserError('A question has no words. Ask something: --questions "What is on the table?"')


@dataclass(kw_only=True)
class BalanceOptions(CheckedOptions):
    """How the tasks' losses move a trunk that isn't frozen."""

    weights: list[float] | None = None
    """What each task's loss is multiplied with, in the order of --tasks; unset: 1 for each."""
    method: Literal["fixed", "uncertainty", "dwa"] = "fixed"
    """Besides these weights: none, uncertainties that are trained along (Kendall 2018), or the dynamic weight average,
    which favours tasks whose loss falls slowly (Liu 2019)."""
    temperature: float = 2.0
    """Of dwa: how even the weights are; Liu 2019 has 2."""
    aggregation: Aggregation = "none"
    """How the trunk's gradients of several tasks become one: none adds them up; the others are torchjd's, such as
    pcgrad (Yu 2020), mgda (Desideri 2012) and upgrad (Quinton 2024)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        if self.weights is not None and not all(0 < weight < inf for weight in self.weights):
            raise UserError(f"--balance.weights takes numbers above 0, not {_words(self.weights)}.")
        if self.temperature <= 0:
            raise UserError(f"--balance.temperature takes a number above 0, not {self.temperature:g}.")
        check_effect(self, "temperature", has_effect=self.method == "dwa", needs="--balance.method dwa")


@dataclass(kw_only=True)
class JointFitOptions(FitOptions):
    """How the training loop runs."""

    accumulate: int = 1
    """With a single data set: batches whose gradients are averaged for one optimizer step; one in which a task knows no
    picture counts as 0 for it."""
    patience: int | None = None
    """On a frozen trunk: a task is no longer trained once this many epochs in a row brought no better value of its
    metric. On a trunk that is trained: all stop once so many brought no better mean of the tasks' metrics, which is
    taken of them as they are, also of CIDEr, which may be above 1; fit.patience under a task's --task-options ends the
    training of its head alone."""


@dataclass(kw_only=True)
class JointAugmentOptions(ZoomOptions):
    """Random changes to pictures that several tasks share; none by default, for not every task bears each of them."""

    flip: float = 0.0
    """The probability of a mirror image, in which left is right for captions and questions too."""
    min_zoom: float = 1.0
    """How small a picture may become, as a share of the size that evaluation gives it; the rest is padding."""
    max_zoom: float = 1.0
    """How large it may become; a random part of the canvas's size is shown then. 1 and 1: no change of size."""


@dataclass(kw_only=True)
class TrainOptions(TrainingOptions):
    """Train heads of several apps on one trunk."""

    data: str = ""
    """The data set of all tasks that don't name one of their own under --task-options."""
    tasks: list[str] = field(default_factory=list)
    """The apps whose heads are trained; unset: those of --task-options."""
    task_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each task what differs: its data, and any option of its app's train command that is the head's alone, such as
    {"segmentation": {"data": "camvid/", "head": "unet", "learning_rate": 0.002}}; best written in a --config file."""
    resize: Literal["pad", "stretch"] = "pad"
    """How a picture comes onto the canvas, for all tasks: fit and pad, or stretch."""
    mix: Literal["size", "sqrt", "weights"] = "size"
    """How often each of several data sets is seen. size: each picture once an epoch; sqrt: in proportion to the square
    roots of the numbers of pictures; weights: to --mix-weights. An epoch has as many steps as the most often drawn data
    set has batches in it, and the others' are spread evenly over them."""
    mix_weights: list[float] | None = None
    """With --mix weights: one for each data set, in the order in which the tasks name them."""
    fit: JointFitOptions = field(default_factory=JointFitOptions)
    alone: list[str] = field(default_factory=list)
    """Runs of single tasks to compare with: the card says what training together changed, with an interval."""
    augment: JointAugmentOptions = field(default_factory=JointAugmentOptions)
    balance: BalanceOptions = field(default_factory=BalanceOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, and what only a single task can have."""
        super().__post_init__()
        for task, own in self.task_options.items():
            if not isinstance(own, Mapping):
                raise UserError(
                    f"--task-options: those of {task} are names with values, such as {{data: DIR}}, not {own!r}."
                )
        self.tasks = check_tasks(self.tasks or list(self.task_options), self.task_options)
        if lacking := [task for task in self.tasks if not (self.data or self.task_options.get(task, {}).get("data"))]:
            raise UserError(
                f"No data for {', '.join(lacking)}. Give a data set for all tasks, --data DIR, or each its own under "
                f"task_options in a --config file: {{{lacking[0]}: {{data: DIR}}}}"
            )
        check_effect(self, "mix_weights", has_effect=self.mix == "weights", needs="--mix weights")
        if self.mix == "weights" and not self.mix_weights:
            raise UserError("--mix weights takes a weight for each data set: --mix-weights 2 1")
        weights = self.balance.weights
        if weights is not None and len(weights) != len(self.tasks):
            raise UserError(
                f"--balance.weights takes one for each of {', '.join(self.tasks)}, not {len(weights)}: "
                f"{_words(weights)}."
            )
        self._refuse_what_one_task_has()
        self._refuse_what_goes_by_data_sets()
        self._refuse_idle_balance()

    def _refuse_what_one_task_has(self) -> None:
        if self.seeds is not None or self.folds is not None or self.fold is not None or self.sweep.is_asked_for:
            raise UserError(
                "--seeds, --folds and --sweep repeat the training of a single task. Leave them out, and start this "
                "command once for each --seed."
            )
        if self.sampling != "shuffle":
            raise UserError("--sampling balanced draws by the classes of a single task. Leave it out; see --mix.")
        if may_be_several(self):
            raise UserError(
                f"--devices {self.devices} --num-nodes {self.num_nodes}: several tasks train in one process, for each "
                "step has other heads to run. Leave it out."
            )

    def _refuse_what_goes_by_data_sets(self) -> None:
        named = (self.task_options.get(task, {}).get("data") or self.data for task in self.tasks)
        is_one = len({Path(str(path)).resolve() for path in named}) == 1
        if is_one and self.mix != "size":
            raise UserError(
                f"--mix {self.mix}: all tasks learn from one data set, whose pictures are seen once an epoch each. "
                "Leave it out."
            )
        if self.fit.accumulate > 1 and not is_one:
            raise UserError(
                f"--fit.accumulate {self.fit.accumulate}: with several data sets a step takes batches of several "
                "already. Leave it out, or give larger ones: --batch-size"
            )
        if self.fit.accumulate > 1 and self.balance.aggregation != "none":
            raise UserError(
                f"--fit.accumulate {self.fit.accumulate}: --balance.aggregation {self.balance.aggregation} would act "
                "on each of a step's batches by itself. Leave one of them out, or give larger batches: --batch-size"
            )

    def _refuse_idle_balance(self) -> None:
        if self.freeze == "all":
            refuse_balance_of_frozen(self)
        if len(self.tasks) == 1 and (given := _given_balance(self)):
            raise UserError(
                f"--balance.{given[0]}: {self.tasks[0]} is the only task, and there is nothing to balance it against. "
                "Leave it out."
            )


@dataclass(kw_only=True)
class EvaluateOptions(EvaluationOptions):
    """Evaluate all heads of a model in one pass over each data set."""

    data: str = ""
    """The data set; unset: each task's own, on which it was trained."""
    tasks: list[str] = field(default_factory=list)
    """The tasks to evaluate; unset: all of the model's."""
    alone: list[str] = field(default_factory=list)
    """Runs or evaluations of single tasks to compare with."""

    def __post_init__(self) -> None:
        """Refuse an evaluation of nothing."""
        super().__post_init__()
        if self.model is None:
            raise UserError("Give the model to evaluate: --model RUN.")
        if self.tasks:
            check_tasks(self.tasks, {})
        if self.alone and self.output is None:
            raise UserError("--alone compares what is written: add --output DIR.")


def check_tasks(tasks: Sequence[str], named: Sequence[str] | dict[str, Any]) -> list[str]:
    """Return the tasks that are asked for.

    Args:
        tasks: What was given.
        named: Those of which more is said.

    Raises:
        UserError: For none, one that there isn't, one that is given twice, or more said of one that isn't asked for.
    """
    if not tasks:
        raise UserError(f"Give the tasks: --tasks with some of {', '.join(TASKS)}.")
    for task in (*tasks, *named):
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    if twice := next((task for task in tasks if tasks.count(task) > 1), None):
        raise UserError(f"--tasks names {twice} twice, and a model has one head of an app.")
    if idle := [task for task in named if task not in tasks]:
        raise UserError(f"--task-options has options of {idle[0]}, which isn't among --tasks {' '.join(tasks)}.")
    return list(tasks)


def refuse_balance_of_frozen(options: TrainOptions) -> None:
    """Refuse options that weigh losses against one another, for a trunk of which nothing will be trained.

    Raises:
        UserError: If there are any.
    """
    if given := _given_balance(options):
        raise UserError(
            f"--balance.{given[0]}: the trunk is frozen, so that no task's loss moves what another one reads, and "
            "there is nothing to balance. Leave it out, or train a part of the trunk: --freeze c3"
        )


def _given_balance(options: TrainOptions) -> list[str]:
    return [name for name in ("weights", "method", "aggregation") if not is_default(options, f"balance.{name}")]


def _words(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
