"""Measuring in which precision a trunk is fastest on this machine, and whether compiling it pays."""

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..backbones import Backbone
from .measured_rates import Compiled, MeasuredRates, rates_file

if TYPE_CHECKING:
    from .fast_trunk import ChosenPrecision, FastTrunk

#: With fewer pictures than this, measuring two precisions takes longer than the better one can save.
FEW_IMAGES = 64
#: With fewer than this, a run isn't long enough for compilation on any device worth the name.
FEW_TO_COMPILE = 600
#: Seconds of a run below which compilation isn't tried, by device and precision: it takes some 15 on a CPU, or 5 where
#: something was compiled before, and a minute on a GPU. In bf16 it halves what a CPU takes, in fp32 less.
LONG_RUN = {("cpu", "bf16"): 20.0, ("cpu", "fp32"): 120.0, ("cuda", "bf16"): 60.0, ("cuda", "fp32"): 60.0}
#: bf16 costs digits, and measured times scatter: it has to be this much faster.
LEAST_GAIN = 1.1
#: Of the cosines between pictures' features in bf16 and in fp32, for each level.
LEAST_MEDIAN, LEAST_COSINE = 0.999, 0.995
COMPARED_IMAGES = 8
#: A measurement is the median of so many passes, or fewer if these take longer than so many seconds.
PASSES, PASSES_SECONDS = 3, 0.6
#: On a CPU a measured pass takes so many pictures, or fewer if these take longer than so many seconds.
PASS_IMAGES, PASS_SECONDS = 4, 0.3


class Calibration:
    """What is known of a trunk's forms under some conditions; what isn't is measured when it is asked for, and kept."""

    def __init__(
        self,
        backbone: Backbone,
        make: Callable[["ChosenPrecision", bool], "FastTrunk"],
        *,
        device: torch.device,
        allowed: tuple["ChosenPrecision", ...],
        sample: Tensor,
        conditions: Mapping[str, Any],
    ) -> None:
        """Read what was measured before.

        Args:
            backbone: The trunk.
            make: Makes its form of a precision, compiled or not.
            device: Where the forms run.
            allowed: The precisions that can be chosen; of several, fp32 is the first.
            sample: Pictures that the trunk will see, ``[N, C, H, W]``, uint8.
            conditions: What the speed depends on, as ``measuring_conditions`` says.
        """
        self._backbone, self._make, self._device, self._sample = backbone, make, device, sample
        self._allowed, self._conditions = allowed, conditions
        self._file = rates_file(conditions)
        self._rates = MeasuredRates.read(self._file)
        self._trunks: dict[tuple[ChosenPrecision, bool], FastTrunk] = {}

    def fastest(self) -> "ChosenPrecision":
        """Return the fastest precision that is good enough."""
        if len(self._allowed) == 1:
            return self._allowed[0]
        is_faster = self._rate("bf16") > LEAST_GAIN * self._rate("fp32")
        return "bf16" if is_faster and self._agrees() else "fp32"

    def compiling_pays(self, precision: "ChosenPrecision", images: int) -> bool:
        """Return whether compilation saves more time on so many pictures than it takes."""
        limit = LONG_RUN.get((self._device.type, precision))
        if limit is None or images < FEW_TO_COMPILE or images / self._rate(precision) <= limit:
            return False
        if precision not in self._rates.compiled:
            found = self._try_compiling(precision)
            if found is None:
                return False
            self._rates.compiled[precision] = found
            self._keep()
        return self._rates.compiled[precision].pays(images)

    def trunk(self, precision: "ChosenPrecision", is_compiled: bool) -> "FastTrunk":
        """Return the trunk in a form: the one that was measured, so that nothing is compiled twice, else a new one."""
        form = precision, is_compiled
        if form not in self._trunks:
            self._trunks[form] = self._make(precision, is_compiled)
        return self._trunks[form]

    def _rate(self, precision: "ChosenPrecision") -> float:
        if precision not in self._rates.eager:
            self._rates.eager[precision] = measure(self.trunk(precision, False), self._pictures(self._pass_images))
            self._keep()
        return self._rates.eager[precision]

    def _agrees(self) -> bool:
        agreements, compared = self._rates.agreements, self._compared()
        if compared not in agreements:
            pictures = self._pictures(min(COMPARED_IMAGES, len(self._sample)))
            agreements[compared] = agree(self.trunk("fp32", False)(pictures), self.trunk("bf16", False)(pictures))
            self._keep()
        return agreements[compared]

    def _try_compiling(self, precision: "ChosenPrecision") -> Compiled | None:
        """Return what compilation brings; nothing where it can't be done."""
        full = self._pictures(self._conditions["pass_size"])
        eager = measure(self.trunk(precision, False), full)
        trunk = self.trunk(precision, True)
        first = _time(trunk, full)
        if not trunk.form.is_compiled:
            return None
        rate = measure(trunk, full)
        return Compiled(eager=eager, rate=rate, seconds=max(0.0, first - len(full) / rate))

    def _compared(self) -> str:
        """Return what stands for the weights and the pictures."""
        pictures = self._sample[:COMPARED_IMAGES].numpy().tobytes()
        return hashlib.sha256(self._backbone.fingerprint().encode() + pictures).hexdigest()

    @cached_property
    def _pass_images(self) -> int:
        """Return how many pictures a measured pass takes: full batches on a GPU, few on a CPU, one if it is slow."""
        full: int = self._conditions["pass_size"]
        if self._device.type != "cpu":
            return full
        trunk = self.trunk(self._allowed[0], False)
        seconds = min(_time(trunk, self._pictures(1)) for _ in range(2))
        return max(1, min(PASS_IMAGES, full, int(PASS_SECONDS / seconds)))

    def _pictures(self, count: int) -> Tensor:
        """Return so many normalised pictures on the device, those of the sample again and again."""
        chosen = self._sample[torch.arange(count) % len(self._sample)]
        return self._backbone.preprocessing.normalize(chosen.to(self._device))

    def _keep(self) -> None:
        self._rates.write(self._file, self._conditions)


def agree(exact: Mapping[str, Tensor], rounded: Mapping[str, Tensor]) -> bool:
    """Return whether levels in bf16 are close enough to those in fp32, by the cosines of the flattened levels.

    Args:
        exact: The levels of some pictures, ``[B, ...]``.
        rounded: The same levels of the same pictures, in bf16.
    """
    for name, level in exact.items():
        cosines = torch.cosine_similarity(level.flatten(1).double(), rounded[name].flatten(1).double())
        # not a number compares as false
        if not (cosines.median() >= LEAST_MEDIAN and cosines.min() >= LEAST_COSINE):
            return False
    return True


def measure(trunk: "FastTrunk", images: Tensor) -> float:
    """Return the images a second of the median pass, after one to warm up; a slow trunk makes fewer passes.

    Args:
        trunk: What is measured.
        images: ``[B, C, H, W]``, normalised, on its device.
    """
    _time(trunk, images)
    seconds = [_time(trunk, images)]
    while len(seconds) < PASSES and sum(seconds) + seconds[-1] < PASSES_SECONDS:
        seconds.append(_time(trunk, images))
    return len(images) / statistics.median(seconds)


def _time(trunk: "FastTrunk", images: Tensor) -> float:
    """Return the seconds of a pass, of which a GPU has then finished everything."""
    _wait(trunk.device)
    started = time.perf_counter()
    trunk(images)
    _wait(trunk.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
