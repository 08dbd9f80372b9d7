"""How fast a trunk's forms were on this machine, kept between commands in the user's cache."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..backbones import Backbone
from ..backbones.errors import UserError
from .run_folder import replace_json

_CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Compiled:
    """What compilation brought.

    Attributes:
        eager: Images a second without it.
        rate: Images a second with it.
        seconds: What it took.
    """

    eager: float
    rate: float
    seconds: float

    def pays(self, images: int) -> bool:
        """Return whether it saves more time on so many images than it takes."""
        return images / self.eager - images / self.rate > self.seconds


@dataclass
class MeasuredRates:
    """What is known of one trunk, canvas and size of a pass on one device.

    Attributes:
        eager: Images a second by precision, of a trunk that isn't compiled.
        compiled: What compilation brought, by precision.
        agreements: Whether bf16 features agree with those in fp32, by a hash of the weights and the pictures.
    """

    eager: dict[str, float] = field(default_factory=dict)
    compiled: dict[str, Compiled] = field(default_factory=dict)
    agreements: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "MeasuredRates":
        """Return what a file of the cache holds; of one that is missing or damaged, nothing."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))["rates"]
            return cls(
                eager={name: _positive(rate) for name, rate in held["eager"].items()},
                compiled={
                    name: Compiled(_positive(each["eager"]), _positive(each["rate"]), float(each["seconds"]))
                    for name, each in held["compiled"].items()
                },
                agreements={name: bool(agrees) for name, agrees in held["agreements"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, path: Path, conditions: Mapping[str, Any]) -> None:
        """Keep the rates in a file; where there is no room or permission, they are measured again next time.

        Args:
            path: The file, as :func:`rates_file` says.
            conditions: What they were measured under, for whoever reads the file.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_json(path, {"conditions": dict(conditions), "rates": asdict(self)})
        except (OSError, UserError):
            return


def measuring_conditions(
    backbone: Backbone, *, device: torch.device, canvas: tuple[int, int], pass_size: int
) -> dict[str, Any]:
    """Return the plain values that a trunk's speed depends on; those of its weights aren't among them."""
    return {
        "trunk": {"name": backbone.name, "levels": list(backbone.levels), **backbone.recipe},
        "canvas": list(canvas),
        "pass_size": pass_size,
        "device": _device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "torch": torch.__version__,
    }


def rates_file(conditions: Mapping[str, Any]) -> Path:
    """Return the file in the user's cache for what is measured under these conditions."""
    text = json.dumps(conditions, sort_keys=True)
    return cache_folder() / "rates" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def cache_folder() -> Path:
    """Return the suite's own cache: ``ONETRUNK_CACHE``, else ``onetrunk`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get("ONETRUNK_CACHE")
    return Path(own or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "onetrunk").expanduser()


def _positive(rate: Any) -> float:
    """Return a rate.

    Raises:
        ValueError: It is none.
    """
    if not float(rate) > 0:
        raise ValueError(f"{rate} is no rate")
    return float(rate)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = _CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{device.type}: {model or platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"
