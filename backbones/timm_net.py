"""Any network of timm that can be tapped, through ``forward_intermediates`` and ``forward_head``."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from .architecture import Architecture, Options, refuse_dilation
from .continuation import passed_through, whole_modules
from .errors import UserError, did_you_mean
from .parts import Part, measure_parts
from .preprocessing import Preprocessing
from .shapes_only import ShapesOnly
from .spec import PREPOOL, level_of_stride, sorted_levels

PREFIX = "timm/"
NEAR_SIZES = (256, 320)
RGB = 3


@dataclass(frozen=True)
class TimmFlow:
    """How a network of timm is walked.

    Attributes:
        indices: Which of timm's intermediate maps each ``cK`` is.
        strides: Stride of every intermediate map.
        has_logits: Whether the network has a classifier.
        levels: The levels asked for; filled by ``cut``.
        needs_head: Whether a level stands at or after the pooled vector.
    """

    indices: Mapping[str, int]
    strides: tuple[float, ...]
    has_logits: bool
    levels: tuple[str, ...] = field(default=())
    needs_head: bool = True

    def offered(self) -> tuple[str, ...]:
        """Return the level names: ``cK``, ``embedding``, ``logits``."""
        return (*self.indices, "embedding", *(["logits"] if self.has_logits else []))

    def cut(self, network: nn.Module, levels: Sequence[str]) -> "TimmFlow":
        """Delete the head and the stages that none of ``levels`` needs; module paths keep the whole network.

        Raises:
            UserError: No level or module has one of the names.
        """
        modules = dict(network.named_modules())
        for level in levels:
            if level not in (*self.offered(), PREPOOL) and level not in modules:
                near = did_you_mean(level, [*self.offered(), *modules])
                raise UserError(
                    f"Unknown level '{level}'. Known: {', '.join(self.offered())}, and the path of any module.{near}"
                )
        flow = replace(self, levels=tuple(levels), needs_head=not set(levels) <= set(self.indices))
        if not flow.needs_head:
            indices = [self.indices[level] for level in levels]
            network.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)  # type: ignore[operator]
        elif set(levels) <= {*self.indices, PREPOOL, "embedding"}:
            network.reset_classifier(0)  # type: ignore[operator]
        return flow

    def cut_behind(self, network: nn.Module, levels: Sequence[str], entry: str) -> "TimmFlow":
        """Delete what stands behind ``entry``, and with it the head, and return the flow of ``levels``.

        Args:
            network: The whole network, or one that was cut behind ``entry`` or deeper.
            levels: None of them stands behind ``entry``, which is one of them; ``cut`` can't tell that of modules.
            entry: One of ``cK``.
        """
        return replace(self.cut(network, [entry]), levels=tuple(levels))

    def taps(self) -> list[str]:
        """Return the modules that must be hooked."""
        return [level for level in self.levels if level not in (*self.offered(), PREPOOL)]

    def run(self, network: nn.Module, images: Tensor, tapped: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the levels of ``cut``; maps in NHWC arrive as ``[B, C, h, w]``.

        Raises:
            UserError: The network can't take pictures of this size, or never calls a module that was asked for.
        """
        try:
            found = self._walk(network, images)
        except AssertionError as error:  # how timm refuses a size that its patches or windows don't divide
            height, width = images.shape[-2:]
            raise UserError(f"The network can't take pictures of {height}x{width}: {error}") from error
        for path in self.taps():
            if path not in tapped:
                raise UserError(f"The module '{path}' is never called in the forward pass: tap another.")
            found[path] = tapped[path]
        return {level: found[level] for level in self.levels}

    def known_at(self, network: nn.Module, entry: str, modules: Collection[str]) -> tuple[str, ...]:
        """Return the levels of ``cut`` that are computed up to and including ``entry``, shallow to deep.

        Args:
            network: The network that was cut.
            entry: One of ``cK``.
            modules: Paths of the modules of its part and of those before it.
        """
        maps = [level for level in self.indices if self.indices[level] <= self.indices[entry]]
        taps = self.taps()
        whole = [path for path in whole_modules(network, modules) if path in taps] if taps else []
        return (*whole, *(level for level in maps if level in self.levels))

    def go_on(
        self,
        network: nn.Module,
        stored: Mapping[str, Tensor],
        entry: str,
        tapped: Mapping[str, Tensor],
        modules: Collection[str],
    ) -> dict[str, Tensor]:
        """Run timm's own pass with the stored map in the place of the pictures, and return the levels behind it.

        The modules up to ``entry`` pass it through. Networks that do more up to there than call modules come to other
        values or fail; only trying tells.

        Args:
            network: The network that was cut.
            stored: Holds ``entry`` as ``[B, C, h, w]``.
            entry: One of ``cK``.
            tapped: What the hooks fill meanwhile.
            modules: Paths of the modules of its part and of those before it.
        """
        known = self.known_at(network, entry, modules)
        levels = tuple(level for level in self.levels if level not in known)
        rest = replace(self, levels=levels, needs_head=not set(levels) <= set(self.indices))
        values = stored[entry]
        if getattr(network, "output_fmt", "NCHW") == "NHWC":
            values = values.permute(0, 2, 3, 1).contiguous()
        with passed_through(network, modules):
            return rest.run(network, values, tapped)

    def _walk(self, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        asked = {level: self.indices[level] for level in self.levels if level in self.indices}
        last: Tensor | None = None
        if asked:
            last, maps = _maps(network, images, sorted(set(asked.values())), needs_last=self.needs_head)
            found = {level: maps[index] for level, index in asked.items()}
        if self.needs_head:
            if last is None:
                last = network.forward_features(images)  # type: ignore[operator]
            found |= self._head(network, last)
        return found

    def _head(self, network: nn.Module, last: Tensor) -> dict[str, Tensor]:
        found = {}
        if PREPOOL in self.levels:
            found[PREPOOL] = _as_map(network, last)
        if "embedding" in self.levels:
            found["embedding"] = network.forward_head(last, pre_logits=True)  # type: ignore[operator]
        if "logits" in self.levels or self.taps():
            found["logits"] = network.forward_head(last)  # type: ignore[operator]
        return found

    def recomputing(self, network: nn.Module, is_active: bool) -> "TimmFlow":
        """Switch timm's own gradient checkpointing in the network, whose blocks are its segments.

        Raises:
            UserError: timm has none for this network.
        """
        try:
            network.set_grad_checkpointing(is_active)  # type: ignore[operator]
        except AssertionError as error:  # how timm says that a network has none
            raise UserError(
                f"timm has no gradient checkpointing for {type(network).__name__}: leave checkpoint_activations out and"
                " take a smaller batch, or take another network."
            ) from error
        return self

    def parts(self, network: nn.Module, images: Tensor) -> dict[str, Part]:
        """Return the part of each ``cK`` up to the deepest level asked for, then ``embedding`` with the rest."""
        order = sorted_levels(tuple(self.indices))
        if not self.needs_head:
            order = order[: order.index(sorted_levels(self.levels)[-1]) + 1]

        def run_map(index: int) -> Tensor:
            return _maps(network, images, [index], needs_last=False)[1][index]

        def run_head() -> Tensor:
            return network.forward_head(network.forward_features(images))  # type: ignore[operator, no-any-return]

        runs: dict[str, Callable[[], Tensor]] = {level: partial(run_map, self.indices[level]) for level in order}
        return measure_parts(network, {**runs, "embedding": run_head} if self.needs_head else runs)


def _maps(
    network: nn.Module, images: Tensor, indices: list[int], *, needs_last: bool
) -> tuple[Tensor | None, dict[int, Tensor]]:
    output = network.forward_intermediates(  # type: ignore[operator]
        images, indices=indices, output_fmt="NCHW", intermediates_only=not needs_last, stop_early=not needs_last
    )
    last, maps = output if needs_last else (None, output)
    return last, dict(zip(indices, maps, strict=True))


def _as_map(network: nn.Module, last: Tensor) -> Tensor:
    """Return what the network pools as ``[B, C, h, w]``.

    Raises:
        UserError: It is no map.
    """
    if last.ndim != 4:
        raise UserError(f"{type(network).__name__} pools tokens, not a map, so it has no level '{PREPOOL}'.")
    is_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return last.permute(0, 3, 1, 2) if is_last else last


def build_timm(name: str, options: Options) -> Architecture:
    """Return timm's network for ``timm/<name>``, with or without a weights tag.

    Raises:
        UserError: timm has no such network, or it can't be built with these options.
    """
    bare = check_timm_name(name)
    refuse_dilation(name, options, "timm's networks are taken as they are")
    network = _create(bare, options)
    preprocessing = timm_preprocessing(network.pretrained_cfg, options)
    is_fixed_size, strides = _measure_maps(bare, options)
    levels = {level: index for index, stride in enumerate(strides) if (level := level_of_stride(stride))}
    stem = network.pretrained_cfg.get("first_conv") or ()
    return Architecture(
        network=network,
        flow=TimmFlow(
            {level: levels[level] for level in sorted_levels(tuple(levels))}, strides, network.num_classes > 0
        ),
        stem=(stem,) if isinstance(stem, str) else tuple(stem),
        preprocessing=preprocessing,
        is_fixed_size=is_fixed_size,
    )


def check_timm_name(name: str) -> str:
    """Return the name without ``timm/``.

    Raises:
        UserError: timm has no such network or no such tag of weights.
    """
    import timm

    bare = name.removeprefix(PREFIX)
    architecture, _, tag = bare.partition(".")
    if not timm.is_model(architecture):
        near = did_you_mean(name, (PREFIX + known for known in timm.list_models()))
        raise UserError(f"Unknown backbone '{name}'. timm has no network of that name.{near}")
    tags = timm_tags(architecture)
    if tag and tag not in tags:
        known = ", ".join(f"{PREFIX}{architecture}.{each}" for each in tags) or "none"
        near = did_you_mean(name, (f"{PREFIX}{architecture}.{each}" for each in tags))
        raise UserError(f"timm has no weights '{tag}' for {PREFIX}{architecture}. Known: {known}.{near}")
    return bare


def timm_tags(architecture: str) -> list[str]:
    """Return the tags of the published weights of a network, the default first."""
    import timm

    default = timm.get_pretrained_cfg(architecture)
    names = timm.list_models(f"{architecture}.*", pretrained=True)
    tags = [name.partition(".")[2] for name in names]
    first = default.tag if default is not None else None
    return sorted(tags, key=lambda tag: (tag != first, tag))


def timm_preprocessing(configuration: Mapping[str, Any], options: Options) -> Preprocessing:
    """Return what a configuration of timm says about pictures, for the size asked for if the network has only one."""
    size = tuple(configuration["input_size"][-2:])
    if options.image_size and configuration.get("fixed_input_size"):
        size = options.image_size
    return Preprocessing(
        mean=tuple(configuration["mean"]),
        std=tuple(configuration["std"]),
        image_size=(int(size[0]), int(size[1])),
        interpolation=configuration["interpolation"] or "bilinear",
        crop_fraction=configuration["crop_pct"] or 1.0,
    ).for_channels(options.in_channels)


def read_timm_file(set_name: str, path: Path, options: Options) -> dict[str, Tensor]:
    """Return the tensors of a file that timm publishes, as timm's own network has them after its conversion.

    timm converts some files as it reads them (renamed layers, position embeddings of another size, a background class).

    Raises:
        UserError: The file is damaged or of another network.
    """
    bare = set_name.removeprefix(PREFIX)
    network = _create(
        bare, replace(options, in_channels=RGB), pretrained=True, pretrained_cfg_overlay={"file": str(path)}
    )
    return dict(network.state_dict())


def _create(bare: str, options: Options, **more: Any) -> Any:
    import timm

    configuration = timm.get_pretrained_cfg(bare)
    arguments: dict[str, Any] = {"in_chans": options.in_channels}
    if options.image_size and configuration is not None and configuration.fixed_input_size:
        arguments["img_size"] = options.image_size
    try:
        return timm.create_model(bare, **arguments, **more)
    except (RuntimeError, ValueError, TypeError, AssertionError, SafetensorError) as error:
        raise UserError(f"{PREFIX}{bare} can't be built with {arguments | more}: {error}") from error


@cache
def _measure_maps(bare: str, options: Options) -> tuple[bool, tuple[float, ...]]:
    """Return whether the network takes one size only, and the stride of each of its maps."""
    with torch.device("meta"), ShapesOnly():
        network = _create(bare, options).eval()
    native = timm_preprocessing(network.pretrained_cfg, options).image_size
    if not hasattr(network, "forward_intermediates"):
        return True, ()
    try:
        small, large = (_heights(network, options.in_channels, (side, side)) for side in NEAR_SIZES)
    except (RuntimeError, AssertionError, ValueError):
        return True, tuple(native[0] / height for height in _heights(network, options.in_channels, native))
    grown = NEAR_SIZES[1] - NEAR_SIZES[0]
    return False, tuple(grown / (b - a) if b > a else math.inf for a, b in zip(small, large, strict=True))


def _heights(network: nn.Module, in_channels: int, size: tuple[int, int]) -> list[int]:
    with torch.no_grad(), ShapesOnly():
        maps = network.forward_intermediates(  # type: ignore[operator]
            torch.empty(1, in_channels, *size, device="meta"), output_fmt="NCHW", intermediates_only=True
        )
    return [each.shape[-2] for each in maps]
