"""The options of the multitask commands; what all apps share is in ``apps/config.py``."""

from dataclasses import dataclass, field

from ...backbones.errors import UserError
from ..config import CheckedOptions, PredictionOptions
from ..option_checks import check_effect, check_range


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
