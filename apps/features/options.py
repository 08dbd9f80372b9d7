"""The options of the features commands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...backbones.errors import UserError
from ..config import AugmentOptions, CheckedOptions, ComputeOptions
from ..option_checks import check_effect, check_image_size, check_range, is_default


@dataclass(kw_only=True)
class ExtractOptions(ComputeOptions):
    """Write the features of images into a file."""

    data: str
    """The images: a data set in any layout that training takes, or a plain folder of pictures."""
    output: str
    """The file to write; its ending says how: .parquet, .npz, .h5 or .safetensors."""
    backbone: str = "resnet50"
    """The trunk, a name from `onetrunk backbones list`."""
    weights: str = "imagenet"
    """Where the trunk's weights come from: imagenet, a named set, a file, a URL, a run's folder, or none."""
    layers: list[str] = field(default_factory=lambda: ["embedding"])
    """What to keep of the trunk, all in one pass: embedding, levels such as c4, fc7, logits, or any module by name."""
    pooling: Literal["avg", "max", "flat", "none"] = "avg"
    """What becomes of maps: the mean or the maximum over their cells, one long vector, or none for the map itself."""
    pca: int | None = None
    """Reduce each layer to so many principal components, fitted on the training split alone; unset: no reduction."""
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    """How numbers are kept. Only .safetensors has bf16; in other files they become fp32 again."""
    image_size: list[int] | None = None
    """Height and width of the canvas that the trunk sees, or one number for both; unset: the weights' own size."""
    channels: int = 3
    """Image channels: 3 for colour, 1 for grey; the pretrained stem is adapted, not thrown away."""
    resize: Literal["crop", "pad", "stretch"] = "crop"
    """How a picture comes onto the canvas: fill it and crop, fit and pad, or stretch."""
    split: str = "all"
    """The split to take: train, val, test, or all, with a column that tells them apart."""
    val_fraction: float = 0.2
    """The share of each class that validates, where the data set has no validation split of its own."""
    split_seed: int = 0
    """Seeds that split; training with the same seed has the same one."""
    plain: bool = False
    """Take every picture below the folder, whatever its folders are called: no labels, no splits."""
    views: int = 0
    """So many random views of each image beside the plain one, as --augment says; the column view numbers them."""
    seed: int = 0
    """Seeds random views, and the trunk where --weights is none."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """How the trunk computes; fp32 gives other tools' numbers, bf16 is faster where the hardware has it."""
    bad_data: Literal["error", "skip"] = "skip"
    """What to do with images that can't be read: stop and name them, or keep their row, empty, with the reason."""
    overwrite: bool = False
    """Write over a file that is already there."""
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        # what a Python call may give: paths, one layer, one side
        self.data, self.output = str(self.data), str(self.output)
        self.layers = [self.layers] if isinstance(self.layers, str) else list(self.layers)
        self.image_size = [self.image_size] if isinstance(self.image_size, int) else self.image_size
        super().__post_init__()
        check_range(self, "pca", least=1)
        check_range(self, "views")
        check_range(self, "val_fraction", most=1)
        check_range(self, "seed", "split_seed", most=2**32 - 1)
        check_image_size(self.image_size)
        if self.channels not in (1, 3):
            raise UserError(f"--channels takes 3 for colour or 1 for grey, not {self.channels}.")
        if not self.layers:
            raise UserError("--layers takes at least one layer, such as embedding.")
        cut = [name for name in ("val_fraction", "split_seed") if self.plain and not is_default(self, name)]
        if cut:
            flag = cut[0].replace("_", "-")
            raise UserError(f"--{flag}: has no effect with --plain, which has no splits; leave it out.")
        changes = [f"augment.{name}" for name in vars(self.augment)]
        check_effect(self, *changes, has_effect=self.views > 0, needs="--views")


@dataclass(kw_only=True)
class ProbeOptions(CheckedOptions):
    """Tell how well features separate the classes, by simple classifiers."""

    features: str
    """A file that `onetrunk features extract` wrote, of images with one label each."""
    layer: str | None = None
    """Of several layers, which one; unset: one after another."""
    split: str = "val"
    """The split to measure on: val or test; the classifiers are fitted on train."""
    folds: int = 5
    """Parts of the training split by which the regularisation and the number of neighbours are chosen."""
    output: str | None = None
    """The folder for the cards and predictions of both classifiers; unset: the figures are only printed."""
    overwrite: bool = False
    """Write over a probe that the folder already holds."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check_range(self, "folds", least=2)
        if self.split == "train":
            raise UserError("--split takes val or test: a probe says nothing on the images that it is fitted to.")


@dataclass(kw_only=True)
class SearchOptions(CheckedOptions):
    """Find the images nearest to others, by the cosine of their features."""

    features: str
    """A file that `onetrunk features extract` wrote."""
    query: list[str]
    """Image files, or folders of them, to look for; each goes the way of the images in the file."""
    layer: str | None = None
    """Of several layers, which one; unset: the first."""
    top: int = 5
    """How many images to show for each."""
    json: bool = False
    """Print JSON for scripts instead of a table."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: a GPU where there is one."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        self.query = [str(self.query)] if isinstance(self.query, str | Path) else [str(path) for path in self.query]
        check_range(self, "top", least=1)
