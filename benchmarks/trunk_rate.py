"""How much of the machine's arithmetic a trunk gets: its operations a second beside those of a large matrix product.

    python benchmarks/trunk_rate.py --backbones vgg16 --rounds 5

The trunk is in the form in which the suite runs frozen trunks, in a process set up as a command's, and gets pictures
that are in memory already: nothing is read, nothing started. Its operations are those that `torch.utils.flop_counter`
counts in one pass (a multiplication and an addition are two). The matrix product is one of square matrices in the
trunk's own precision, measured in the same process. Beside it stands the memory: what the trunk's convolutions, linear
layers and poolings have to read and write, each tensor once, beside a copy of a large tensor.

The peer is what timm's own benchmark does: its model as created, channels-last, under autocast where the machine has
bf16, and `features`, here `forward_features`, of random pictures. All take turns; figures are medians of the rounds.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from onetrunk.apps.process_settings import settle_process

settle_process()  # as the command line does, before torch is imported; timm's side has it too

# ruff: noqa: E402
import timm
import torch
from features_timm import NETWORKS
from onetrunk.apps.fast_trunk import FastTrunk, choose_trunk
from onetrunk.backbones import Backbone, build_backbone
from random_weights import BUNDLED
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from turns import describe, has_bf16, make_parser, ratio, settle_device, take_turns


def seconds_of(compute: Callable[[], object], device: torch.device, *, least: float) -> float:
    """Return the seconds of one call, the mean of as many as fit into ``least`` seconds."""
    calls, started = 0, time.perf_counter()
    while True:
        compute()
        calls += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - started
        if taken >= least:
            return taken / calls


def count_operations(backbone: Backbone, canvas: tuple[int, int]) -> int:
    """Return the operations of one picture's pass."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        backbone(torch.zeros(1, backbone.in_channels, *canvas))
    return int(counter.get_total_flops())


def count_bytes(backbone: Backbone, canvas: tuple[int, int], width: int) -> tuple[int, int]:
    """Return the bytes that a picture's pass has to read and write in numbers of a width, and those of the weights."""
    numbers = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal numbers
        numbers += inputs[0].numel() + output.numel()

    kinds = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    layers = [module for module in backbone.modules() if isinstance(module, kinds)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        backbone(torch.zeros(1, backbone.in_channels, *canvas))
    for handle in handles:
        handle.remove()
    weights = sum(parameter.numel() for layer in layers for parameter in layer.parameters())
    return numbers * width, weights * width


def copying(size: int, device: torch.device) -> Callable[[], Tensor]:
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def timm_pass(name: str, images: Tensor, *, has_autocast: bool) -> Callable[[], Tensor]:
    """Return timm's own features of the pictures, of random weights."""
    model = timm.create_model(NETWORKS[name]).eval().to(images.device, memory_format=torch.channels_last)

    def compute() -> Tensor:
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=has_autocast):
            return model.forward_features(images)

    return compute


def matrix_product(side: int, dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: first @ second


def prepare(backbone: Backbone, arguments: argparse.Namespace) -> tuple[FastTrunk, Tensor]:
    """Return the trunk as the suite runs it, and a batch of pictures for it, normalised."""
    size = arguments.batch_size
    where = {
        "device": torch.device(arguments.device),
        "canvas": backbone.preprocessing.image_size,
        "batch_size": size,
    }
    pictures = torch.randint(0, 256, (size, backbone.in_channels, *where["canvas"]), dtype=torch.uint8)
    chosen = {"precision": arguments.precision, "compiling": "auto", "images": arguments.images, "sample": pictures[:8]}
    trunk = choose_trunk(backbone, **chosen, **where)
    images = backbone.preprocessing.normalize(pictures.to(where["device"]))
    return trunk, images.contiguous(memory_format=torch.channels_last)


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Print images a second of the trunk, its operations a second, and their share of the matrix product's."""
    torch.manual_seed(0)
    backbone = build_backbone(name, weights=BUNDLED.get(name, "none"), levels=[arguments.level]).eval()
    canvas = backbone.preprocessing.image_size
    operations = count_operations(backbone, canvas)
    trunk, images = prepare(backbone, arguments)
    device = torch.device(arguments.device)
    dtype = torch.bfloat16 if trunk.form.precision == "bf16" else torch.float32
    computed = {
        "trunk": lambda: trunk(images),
        "timm": timm_pass(name, images, has_autocast=has_bf16(device)),
        "product": matrix_product(arguments.side, dtype, device),
        "copy": copying(arguments.copied, device),
    }
    for compute in computed.values():  # what the first call compiles or lays out is no part of the rate
        compute()
    timed = {name: partial(seconds_of, compute, device, least=arguments.seconds) for name, compute in computed.items()}
    seconds = take_turns(arguments.rounds, timed)
    rates = [operations * len(images) / each for each in seconds["trunk"]]
    peaks = [2 * arguments.side**3 / each for each in seconds["product"]]
    of_image, of_weights = count_bytes(backbone, canvas, dtype.itemsize)
    moved = [(of_image * len(images) + of_weights) / each for each in seconds["trunk"]]
    bandwidths = [2 * arguments.copied / each for each in seconds["copy"]]
    compiled = ", compiled" if trunk.form.is_compiled else ""
    print(
        f"\n{name} to {arguments.level}, {operations / 1e9:.2f} GFLOP an image, {trunk.form.precision}{compiled}, "
        f"canvas {canvas[0]} x {canvas[1]}, {describe(arguments)}\n"
        f"  trunk          {len(images) / median(seconds['trunk']):9.1f} images/s, {median(rates) / 1e9:9.1f} GFLOP/s\n"
        f"  matrix product {'':18} {median(peaks) / 1e9:9.1f} GFLOP/s, {arguments.side} a side\n"
        f"  share          {ratio(rates, peaks)}\n"
        f"  memory         {'':18} {median(moved) / 1e9:9.1f} GB/s, a copy {median(bandwidths) / 1e9:.1f} GB/s; "
        f"share {ratio(moved, bandwidths)}\n"
        f"  timm           {len(images) / median(seconds['timm']):9.1f} images/s; "
        f"ratio {ratio(seconds['timm'], seconds['trunk'])}",
        flush=True,
    )


def main() -> None:
    parser = make_parser(__doc__, batch_size=16)
    parser.add_argument("--backbones", nargs="+", default=["vgg16", "resnet50", "efficientnet_lite0"])
    parser.add_argument("--level", default="c5", help="how deep the trunk is read (default: c5)")
    parser.add_argument("--side", type=int, default=2048, help="of the square matrices (default: 2048)")
    parser.add_argument("--copied", type=int, default=2**28, help="bytes of the tensor that is copied (default: 2^28)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each side computes in a round (default: 2)")
    parser.add_argument(
        "--images", type=int, default=20_000, help="that a compilation would have to pay for (default: 20,000)"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    arguments = parser.parse_args()
    settle_device(arguments)
    torch.set_num_threads(arguments.threads)
    for backbone in arguments.backbones:
        measure(backbone, arguments)


if __name__ == "__main__":
    main()
