"""The options that every app shares, as dataclasses.

One dataclass is the command line, the YAML file and the Python call at once: ``arguments.py`` makes a flag of each
field, with the field's docstring as its help. An app inherits from these and adds its own fields.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..backbones.errors import UserError, unknown
from .option_checks import check_effects, check_freezing, check_image_size, check_range, check_repeats, check_sweep

Schedule = Literal["cosine", "constant", "one_cycle"]


class CheckedOptions:
    """Options whose choices are checked also where no command line did it."""

    def __post_init__(self) -> None:
        """Refuse a word that isn't one of a field's choices.

        Raises:
            UserError: With the choices and the nearest one.
        """
        for name, hint in get_type_hints(type(self)).items():
            given = getattr(self, name)
            if get_origin(hint) is Literal and given not in get_args(hint):
                raise unknown(f"value of --{name.replace('_', '-')}", str(given), map(str, get_args(hint)))


@dataclass(kw_only=True)
class OptimOptions(CheckedOptions):
    """How weights are updated."""

    name: Literal["adamw", "sgd"] = "adamw"
    """The optimizer: AdamW (Loshchilov & Hutter 2019), or SGD with Nesterov momentum 0.9."""
    weight_decay: float = 0.05
    """Decoupled for AdamW, L2 for SGD; biases and normalisation parameters are never decayed."""
    trunk_factor: float = 0.1
    """The trunk's learning rate is this times the head's (--learning-rate). Use 1 when training from random weights."""
    layer_decay: float = 1.0
    """Each stage of the trunk learns this times as fast as what stands on it; 1: all stages alike."""
    thaw_factor: float = 0.5
    """With --freeze until:N: what all learning rates are multiplied with once the trunk is thawed."""
    schedule: Schedule = "cosine"
    """The learning rate over the run: half a cosine down to zero, or constant, both after the warm-up; or one_cycle: up
    and down again, the momentum down and up (Smith & Topin 2018)."""
    warmup_fraction: float = 0.05
    """For cosine and constant: the share of all steps over which the learning rate rises linearly from zero."""
    ema: float | None = None
    """The decay of an exponential moving average of the weights, such as 0.999; what is evaluated and kept is then the
    average. It starts with a shorter memory that grows with the steps. Unset: no average."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "weight_decay", "trunk_factor", "thaw_factor", group="optim")
        check_range(self, "warmup_fraction", "layer_decay", "ema", most=1, group="optim")


@dataclass(kw_only=True)
class FitOptions(CheckedOptions):
    """How the training loop runs."""

    save_every: float = 300.0
    """Seconds between checkpoints inside an epoch; one is always written at the end of an epoch."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one optimizer step."""
    clip_norm: float | None = None
    """The largest norm of the gradients; unset: no clipping."""
    patience: int | None = None
    """Stop once this many epochs in a row brought no better value of the metric that chooses the checkpoint."""
    checkpoint_activations: bool = False
    """Compute the trunk's activations a second time in the backward pass instead of keeping them: less memory, about a
    third more time, the same result."""
    compile: bool = False
    """Compile the trunk that is trained: a minute or more at the start, then faster steps on GPUs, seldom on CPUs."""
    channels_last: bool = True
    """Keep convolutions in the channels-last memory format, which is faster on CPUs and on tensor cores."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "save_every", group="fit")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UserError(f"--fit.clip-norm takes a number above 0, not {self.clip_norm}; unset: no clipping.")
        check_range(self, "accumulate", "patience", least=1, group="fit")


@dataclass(kw_only=True)
class LoraOptions(CheckedOptions):
    """The low-rank updates of --tune lora."""

    rank: int = 8
    """The rank of each update."""
    alpha: float = 16.0
    """The updates are scaled by this over the rank."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "rank", least=1, group="lora")
        check_range(self, "alpha", group="lora")


@dataclass(kw_only=True)
class SweepOptions(CheckedOptions):
    """Values to try, each combination in a run of its own; the best by the validation split is kept."""

    learning_rates: list[float] | None = None
    """Train once with each of these in place of --learning-rate, in OUTPUT/sweep-1 and so on."""
    weight_decays: list[float] | None = None
    """Train once with each of these in place of --optim.weight-decay; of both lists every combination is trained."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_sweep(self)

    @property
    def is_asked_for(self) -> bool:
        """Whether there is anything to try."""
        return self.learning_rates is not None or self.weight_decays is not None


@dataclass(kw_only=True)
class LossOptions(CheckedOptions):
    """The training loss."""

    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class counts in inverse proportion to its images."""


@dataclass(kw_only=True)
class ChangeOptions(CheckedOptions):
    """Random changes that every picture can take, whatever is annotated in it."""

    flip: float = 0.5
    """The probability of a mirror image; 0 for digits, text and signs."""
    vertical_flip: float = 0.0
    """The probability of turning the picture upside down; 0.5 where up and down mean nothing, as in microscopy."""
    color_jitter: float = 0.0
    """The strength of random brightness, contrast and saturation."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "flip", "vertical_flip", most=1, group="augment")
        check_range(self, "color_jitter", group="augment")


@dataclass(kw_only=True)
class PlacingOptions(ChangeOptions):
    """Random changes to pictures that masks and a box can follow."""

    min_scale: float = 0.35
    """The smallest share of the picture that a random crop shows; 1 for no crop."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "min_scale", most=1, group="augment")


@dataclass(kw_only=True)
class WholePictureOptions(PlacingOptions):
    """Random changes to pictures that people speak of; none by default."""

    flip: float = 0.0
    """The probability of a mirror image, in which left is right, and words can't be read."""
    min_scale: float = 1.0
    """The smallest share of the picture that a random crop shows, 1 for no crop; what is cut off may be spoken of."""


@dataclass(kw_only=True)
class ZoomOptions(ChangeOptions):
    """Random changes to pictures that any number of boxes can follow."""

    min_zoom: float = 0.75
    """How small a picture may become, as a share of the size that evaluation gives it; the rest is padding."""
    max_zoom: float = 1.5
    """How large it may become; a random part of the canvas's size is shown then. 1 and 1: no change of size."""
    shown: float = 0.4
    """The share of an object's box that has to be in the part that is shown; of others nothing is asked."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "shown", most=1, group="augment")
        if not 0 < self.min_zoom <= self.max_zoom:
            raise UserError(
                f"--augment.min-zoom is above 0 and at most --augment.max-zoom; they are {self.min_zoom:g} and "
                f"{self.max_zoom:g}."
            )


@dataclass(kw_only=True)
class AugmentOptions(PlacingOptions):
    """Random changes to pictures."""

    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    """Random shears, turns, shifts and changes of colour: RandAugment (Cubuk 2020), TrivialAugment (Mueller 2021)."""
    erasing: float = 0.0
    """The probability of noise in place of a random rectangle (Zhong 2020)."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "erasing", most=1, group="augment")


@dataclass(kw_only=True)
class ComputeOptions(CheckedOptions):
    """How a network runs over images; none of these changes a result beyond rounding."""

    batch_size: int = 32
    """Images a step."""
    workers: int | None = None
    """Processes that read images; unset: one for each core, at most 8. The number changes no result."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: in training bf16 where the hardware has it, but fp32 for depthwise networks on a CPU, where bf16 is slower;
    in use what measuring shows to be faster, if the features agree."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch.compile makes the trunk that only looks faster; auto: in runs that are long enough to make up for
    the minute that it takes."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: a GPU where there is one."""
    bad_data: Literal["error", "skip"] = "error"
    """What to do with images that can't be read: stop and name them, or leave them out, count and list them."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "batch_size", least=1)
        check_range(self, "workers")


@dataclass(kw_only=True)
class RuntimeOptions(ComputeOptions):
    """Where and how a network runs, on one device or several."""

    devices: int | str = 1
    """How many GPUs, or processes on a CPU, work together: a number, a list such as 0,1, or auto for all GPUs. In
    training each takes --batch-size images a step."""
    num_nodes: int = 1
    """On how many machines the same command was started."""
    strategy: str = "auto"
    """How several devices work together: auto, ddp, ddp_find_unused_parameters_false or
    ddp_find_unused_parameters_true, as Lightning names them."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "num_nodes", least=1)


@dataclass(kw_only=True)
class TrainingOptions(RuntimeOptions):
    """What every app's train command takes."""

    data: str
    """The data set: a folder or a table."""
    backbone: str = "resnet50"
    """The trunk, a name from `onetrunk backbones list`."""
    weights: str = "imagenet"
    """Where the trunk's weights come from: imagenet, a named set, a file, a URL, a run's folder, or none."""
    freeze: str = "none"
    """What of the trunk stays as it is: none, all, a level such as c3 for everything up to that level, or until:3 for
    all of it in the first three epochs and nothing from then on."""
    tune: Literal["full", "norm", "lora"] = "full"
    """What of the rest is trained: all of it, only the scales and shifts of its normalisation layers, or low-rank
    updates of its convolutions and linear layers (LoRA, Hu 2022)."""
    epochs: int = 10
    """Passes over the training split."""
    learning_rate: float = 1e-3
    """The head's highest learning rate; the trunk's is --optim.trunk-factor times this."""
    image_size: list[int] | None = None
    """Height and width of the canvas that the trunk sees, or one number for both; unset: the weights' own size."""
    channels: int = 3
    """Image channels: 3 for colour, 1 for grey; the pretrained stem is adapted, not thrown away."""
    output: str | None = None
    """The run folder; unset: runs/APP/DATA."""
    resume: bool = False
    """Go on with the run in the folder from its last checkpoint; start it where there is none yet."""
    overwrite: bool = False
    """Delete the run that the folder holds and start anew."""
    seed: int = 0
    """Seeds the head's first weights, the order and the augmentation."""
    seeds: list[int] | None = None
    """Train once with each of these seeds, in OUTPUT/seed-0 and so on; one card gives means and spread."""
    folds: int | None = None
    """Cross-validate: train this many times, each image once in the validation part, in OUTPUT/fold-1 and so on; one
    card is over all images."""
    fold: int | None = None
    """Train the one of --folds with this number, from 1."""
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    """shuffle: each image once an epoch; balanced: as many draws, each class as often as any other."""
    val_fraction: float = 0.2
    """The share of each class that validates, where the data set has no validation split of its own."""
    split_seed: int = 0
    """Seeds that split; apart from --seed, so that runs with several seeds share it."""
    deterministic: bool = False
    """On a GPU, use only kernels that give the same bits each time; on a CPU they always do."""
    cache: Literal["auto", "on", "off"] = "auto"
    """Whether the frozen part of the trunk sees each picture once: what it makes of them is stored, and training goes
    on from there. auto: where pictures look the same in each epoch, or --cache-views says how many looks there are."""
    cache_views: int | None = None
    """How many random looks at each picture there are, which the epochs take turns with; unset: each epoch has its
    own. A picture that a balanced epoch draws again takes the next."""
    cache_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What the trunk computes stored features in; auto: as --precision says, or what measuring shows to be faster."""
    cache_dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Of stored features on the disk; auto: what the trunk computes them in."""
    cache_folder: str | None = None
    """Where features are stored, and kept for other runs to share; unset: in the run's folder until it is finished."""
    lora: LoraOptions = field(default_factory=LoraOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    sweep: SweepOptions = field(default_factory=SweepOptions)
    fit: FitOptions = field(default_factory=FitOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "epochs", least=1)
        check_range(self, "learning_rate")
        check_range(self, "seed", "split_seed", most=2**32 - 1)
        if self.channels not in (1, 3):
            raise UserError(f"--channels takes 3 for colour or 1 for grey, not {self.channels}.")
        check_range(self, "val_fraction", most=1)
        check_image_size(self.image_size)
        check_range(self, "cache_views", least=1)
        check_freezing(self)
        check_effects(self)
        check_repeats(self)


@dataclass(kw_only=True)
class EvaluationOptions(RuntimeOptions):
    """What every app's evaluate command takes."""

    data: str
    """The data set: a folder or a table."""
    model: str | None = None
    """The run folder or model folder to evaluate."""
    split: str = "val"
    """The split to evaluate on: train, val, test, or all for everything there is."""
    output: str | None = None
    """The folder for results.json and predictions; unset: the card is only printed."""
    overwrite: bool = False
    """Write over an evaluation that the folder already holds."""


@dataclass(kw_only=True)
class ModelEvaluationOptions(EvaluationOptions):
    """What the evaluate command takes of an app that evaluates nothing but trained models."""

    def __post_init__(self) -> None:
        """Refuse an evaluation of nothing."""
        super().__post_init__()
        if self.model is None:
            raise UserError("Give the model to evaluate: --model RUN.")


@dataclass(kw_only=True)
class PredictionOptions(RuntimeOptions):
    """What every app's predict command takes."""

    model: str
    """The run folder or model folder to use."""
    images: list[str]
    """Image files and folders of images."""
    output: str | None = None
    """The folder for the predictions; unset: they are only printed."""
    overwrite: bool = False
    """Write over predictions that the folder already holds."""


def canvas_of(image_size: list[int] | None) -> tuple[int, int] | None:
    """Return the height and width that ``--image-size`` stands for, if it was given."""
    return (image_size[0], image_size[-1]) if image_size else None


def to_plain(options: Any) -> dict[str, Any]:
    """Return the options as plain values that YAML can hold."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
