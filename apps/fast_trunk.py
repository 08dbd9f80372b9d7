"""The inference form of a trunk on a device: folded, channels-last, in the fastest precision, compiled if that pays."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.inference import count_norms, inference_copy, narrow_weights
from .calibration import FEW_IMAGES, FEW_TO_COMPILE, Calibration
from .hardware import Precision, choose_precision
from .measured_rates import measuring_conditions
from .processes import is_first

ChosenPrecision = Literal["fp32", "bf16"]
Compiling = Literal["auto", "on", "off"]
#: A pass of a CPU takes about as many pixels as 8 pictures on 224 x 224 have: with more, what a layer writes has left
#: the caches before the next one reads it; with fewer, the matrix products are too small.
PASS_PIXELS = 8 * 224 * 224


@dataclass(frozen=True)
class Form:
    """How a trunk runs. Chosen once, and kept in what is written of a run, a model or features.

    Attributes:
        precision: ``fp32``; or ``bf16``, in which convolutions and linear layers compute.
        is_compiled: Whether pictures go through ``torch.compile``.
    """

    precision: ChosenPrecision = "fp32"
    is_compiled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and YAML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Form":
        """Return the form that ``to_dict`` described."""
        return cls(precision=values["precision"], is_compiled=values["is_compiled"])


class FastTrunk:
    """A trunk in its inference form on a device.

    It keeps a copy, so that what is trained later doesn't reach it.

    Attributes:
        backbone: The copy, with batch norms folded where that is faster.
        form: How it runs; no longer compiled where that turned out to be impossible.
        folded: How many batch norms were folded.
        device: Where it runs.
        pass_size: How many pictures go through it at once: a full batch, or a part of it on a CPU.
    """

    def __init__(
        self, backbone: Backbone, form: Form, *, device: torch.device, canvas: tuple[int, int], batch_size: int
    ) -> None:
        """Make the copy; a compiled form is compiled when it sees the first pictures.

        Args:
            backbone: The trunk; it stays as it is.
            form: How it shall run.
            device: Where it shall run.
            canvas: Height and width of the pictures. Others take the eager form of the same network, so that nothing is
                compiled twice; so do batches that aren't full on a GPU.
            batch_size: Pictures of a full batch.
        """
        self.device, self.form = device, form
        # uncompiled, a GPU adds a bias more slowly than it computes a norm (docs/architecture.md)
        folds = form.is_compiled or device.type != "cuda"
        with torch.inference_mode(False):  # its weights are used outside of it too
            self.backbone = inference_copy(backbone, folds=folds).to(device)
            if form.precision == "bf16":
                narrow_weights(self.backbone.network)
        self.folded = count_norms(backbone.network) - count_norms(self.backbone.network)
        self.pass_size = pass_size(device, canvas, batch_size)
        self._shape = (backbone.in_channels, *canvas)
        self._compiled = _compile(self.backbone, device) if form.is_compiled else None

    def __call__(self, images: Tensor, *, as_computed: bool = False) -> dict[str, Tensor]:
        """Return the trunk's levels without a graph: float32, or bfloat16 in ``bf16`` where the caller computes so too.

        Args:
            images: ``[B, C, H, W]``, float32, normalised.
            as_computed: Whether each level stays in the dtype that the trunk gave it, whatever the caller computes in.
        """
        is_narrow = self.form.precision == "bf16"
        stays_narrow = is_narrow and autocast_dtype(self.device.type) == torch.bfloat16
        dtype = None if as_computed else torch.bfloat16 if stays_narrow else torch.float32
        # never in inference mode: what was compiled outside of it would be compiled again
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=is_narrow),
        ):
            given = images.to(self.device, non_blocking=True)
            parts = torch.split(given, self.pass_size) if self.device.type == "cpu" and len(given) else (given,)
            passes = [self._pass(_laid_out(part), dtype) for part in parts]
        if len(passes) == 1:
            return passes[0]
        return {name: torch.cat([levels[name] for levels in passes]) for name in passes[0]}

    def to(self, device: torch.device) -> "FastTrunk":
        """Move it to another device, where it isn't there yet: of several GPUs each process learns its own late."""
        if device != self.device:
            with torch.inference_mode(False):
                self.backbone.to(device)
            self.device = device
        return self

    def facts(self) -> dict[str, Any]:
        """Return plain values for the card: the form, and how many norms were folded."""
        return {**self.form.to_dict(), "folded_norms": self.folded}

    def _pass(self, images: Tensor, dtype: torch.dtype | None) -> dict[str, Tensor]:
        return {name: level.to(dtype or level.dtype) for name, level in self._run(images).items()}

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        lacking = self.pass_size - len(images)
        if self._compiled is not None and images.shape[1:] == self._shape and self._takes(lacking):
            full = _fill_up(images, lacking) if lacking else images
            try:
                return {name: level[: len(images)] for name, level in self._compiled(full).items()}
            except Exception as error:  # a compiler fails in many ways, and what isn't its fault fails again below
                self._compiled, self.form = None, replace(self.form, is_compiled=False)
                if is_first():
                    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error))
                    print(f"onetrunk: the trunk runs without torch.compile, which failed: {reason}", file=sys.stderr)
        return self.backbone(images)  # type: ignore[no-any-return]

    def _takes(self, lacking: int) -> bool:
        """Return whether the compiled form takes a pass that lacks so many pictures; those of a GPU are large."""
        return lacking == 0 or self.device.type == "cpu"


def _laid_out(images: Tensor) -> Tensor:
    """Return pictures channels-last, and not as a tensor of the inference mode."""
    found = images.contiguous(memory_format=torch.channels_last)
    return found.clone() if found.is_inference() else found


def _fill_up(images: Tensor, lacking: int) -> Tensor:
    """Return pictures with so many empty ones behind them: a pass is compiled for one number."""
    return nn.functional.pad(images, (0, 0) * 3 + (0, lacking)).contiguous(memory_format=torch.channels_last)


def autocast_dtype(device: str) -> torch.dtype:
    """Return in what convolutions and linear layers compute on a type of device at the moment."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def pass_size(device: torch.device, canvas: tuple[int, int], batch_size: int) -> int:
    """Return how many pictures of a batch go through a trunk at once.

    Args:
        device: Where the trunk runs.
        canvas: Height and width of the pictures.
        batch_size: Pictures of a full batch.
    """
    if device.type != "cpu":
        return batch_size
    return max(1, min(batch_size, round(PASS_PIXELS / (canvas[0] * canvas[1]))))


def _compile(backbone: Backbone, device: torch.device) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return the trunk's compiled pass, for pictures of one shape.

    On a GPU the pass is recorded as a CUDA graph, whose outputs the next pass overwrites: they are copied. On a CPU the
    weights become constants, laid out as its kernels want them.
    """
    if device.type == "cuda":
        compiled = torch.compile(backbone, dynamic=False, mode="reduce-overhead")

        def replay(images: Tensor) -> dict[str, Tensor]:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return {name: level.clone() for name, level in compiled(images).items()}

        return replay
    frozen = torch.compile(backbone, dynamic=False)

    def run(images: Tensor) -> dict[str, Tensor]:
        import torch._inductor.config as inductor

        with inductor.patch(freezing=True):
            return frozen(images)  # type: ignore[no-any-return]

    return run


def choose_trunk(
    backbone: Backbone,
    *,
    precision: Precision,
    compiling: Compiling,
    device: torch.device,
    canvas: tuple[int, int],
    batch_size: int,
    images: int,
    sample: Tensor,
) -> FastTrunk:
    """Return a trunk in the form in which it is fastest, by measuring it for a second or two.

    What was measured is kept in the user's cache, so that the next command with the same trunk, canvas and batch size
    measures nothing. Few pictures aren't worth measuring: they take what training would take.
    Compilation is tried in long runs only, and chosen where it saves more time than it takes; what was compiled for the
    trial is what is returned then.

    Args:
        backbone: The trunk.
        precision: ``auto`` for the faster one, if features in bf16 agree with those in fp32; others are obeyed.
        compiling: ``auto`` to compile where it pays; ``on`` and ``off`` are obeyed.
        device: Where it shall run.
        canvas: Height and width of the pictures.
        batch_size: Pictures of a full batch.
        images: How many pictures the trunk will see.
        sample: The first of them, some eight, ``[N, C, H, W]``, uint8; read only where something is measured.
    """

    def make(chosen: ChosenPrecision, is_compiled: bool) -> FastTrunk:
        return FastTrunk(backbone, Form(chosen, is_compiled), device=device, canvas=canvas, batch_size=batch_size)

    allowed = _allowed(precision, device)
    is_alone = len(allowed) == 1
    if images < (FEW_TO_COMPILE if is_alone else FEW_IMAGES) or (is_alone and compiling != "auto"):
        # also where more is known: what ran before changes no result
        return make(usual_precision(precision, device, backbone), compiling == "on")
    pictures = pass_size(device, canvas, batch_size)
    conditions = measuring_conditions(backbone, device=device, canvas=canvas, pass_size=pictures)
    calibration = Calibration(backbone, make, device=device, allowed=allowed, sample=sample, conditions=conditions)
    fastest = calibration.fastest()
    compiles = calibration.compiling_pays(fastest, images) if compiling == "auto" else compiling == "on"
    return calibration.trunk(fastest, compiles)


def usual_precision(precision: Precision, device: torch.device, backbone: Backbone) -> ChosenPrecision:
    """Return the precision that training takes, which is where nothing is measured."""
    return "bf16" if choose_precision(precision, device, backbone) == "bf16" else "fp32"


def _allowed(precision: Precision, device: torch.device) -> tuple[ChosenPrecision, ...]:
    """Return the precisions that can be chosen."""
    if precision != "auto":
        return (precision,)
    # asked for no network in particular, it says what the hardware has
    return ("fp32", "bf16") if choose_precision("auto", device, nn.Identity()) == "bf16" else ("fp32",)
