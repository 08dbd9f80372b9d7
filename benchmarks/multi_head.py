"""Five heads on one trunk beside five models with a trunk each: how near the saving is to what it can be at most.

    python benchmarks/multi_head.py --backbones efficientnet_lite0 resnet50 vgg16 --rounds 5 --batch-size 8
    python benchmarks/multi_head.py --backbones vgg16 --heads light --trunks own

Heads of classification, segmentation, detection, captioning and vqa stand on the same trunk, all of random weights, and
get the same random pictures on the CPU, in fp32. Both sides say the same to the bit, or the benchmark ends.

- T: the trunk's one pass. H: a head's forward on features that are there; sum H: of all five.
- together: one pass of the model with all heads. separate: five passes, each of a model of its own.
- ideal: (5 T + sum H) / (T + sum H), from the same rounds; the share is what of it was reached, by claim 0.9.

A head's forward is what `head(features, context)` gives; rows of words and boxes, `predict`, aren't made. With
`--outputs raw` two heads stop where a training step takes over: the detector before its detections (faster_rcnn: with
its pyramid, before its proposals), the captioner with its cells, before its first word. With `--outputs final` they go
on to boxes and texts; how many boxes there are is up to random weights, and captions run to the most words.

With `--trunks same` all models have the whole trunk, so that its T is that of each. With `--trunks own` each has only
what its head reads, as a model that is trained alone has: VGG's large layers, for one, are read as the embedding only.
Then 5 T is the sum of the five trunks' own passes, measured too.

Weights are bytes of parameters and buffers, counted; their ideal is the same formula of bytes. Resident is by how much
a new process grows when it builds the model or models: it has imported everything and built the same heads on a small
trunk before, and what it freed is given back to the system first.
"""

import argparse
import ctypes
import gc
import json
import mmap
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from onetrunk.apps.captioning.head import build_head
from onetrunk.apps.captioning.options import HeadOptions as CaptionOptions
from onetrunk.apps.captioning.task import channels_of
from onetrunk.apps.classification.task import build_task as classification_task
from onetrunk.apps.detection.anchors import usual_anchors
from onetrunk.apps.detection.metrics import DetectionEvaluator
from onetrunk.apps.detection.options import HeadOptions as DetectionOptions
from onetrunk.apps.detection.requirements import levels_read
from onetrunk.apps.detection.task import build_task as detection_task
from onetrunk.apps.detection.task import pyramid_strides
from onetrunk.apps.inputs import InputRecipe, make_recipe
from onetrunk.apps.multitask.multi_head import MultiHead
from onetrunk.apps.segmentation.metrics import SegmentationEvaluator
from onetrunk.apps.segmentation.options import HeadOptions as SegmentationOptions
from onetrunk.apps.segmentation.task import build_task as segmentation_task
from onetrunk.apps.task import Head
from onetrunk.apps.vocabulary import Vocabulary, learn_vocabulary
from onetrunk.apps.vqa.metrics import VqaEvaluator
from onetrunk.apps.vqa.options import HeadOptions as VqaOptions
from onetrunk.apps.vqa.question_prior import QuestionPrior
from onetrunk.apps.vqa.task import QuestionReader
from onetrunk.apps.vqa.task import build_task as vqa_task
from onetrunk.backbones import Backbone, build_backbone
from onetrunk.datasets import Context
from torch import Tensor, nn
from turns import ratio, run, spread, take_turns

#: Kind -> the head of each task.
KINDS = {
    "light": {
        "classification": "linear",
        "segmentation": "fcn32s",
        "detection": "retinanet",
        "captioning": "lstm",
        "vqa": "product",
    },
    "heavy": {
        "classification": "mlp",
        "segmentation": "unet",
        "detection": "faster_rcnn",
        "captioning": "transformer",
        "vqa": "stacked_attention",
    },
}
TASKS = tuple(KINDS["light"])
#: Of the light retinanet's pyramid; the usual width is twice that.
NARROW = 64
CLASSES = tuple(f"class {number}" for number in range(20))
ANSWERS = tuple(f"answer {number}" for number in range(1000))
WORDS = tuple(f"word{number}" for number in range(2000))
#: Asked about every picture.
QUESTION = " ".join(WORDS[:8])
#: Heads that go on to detections and texts unless they are told that a training step does it.
GO_ON = ("detection", "captioning")
#: What a child process is called with before what it is to build.
CHILD = "--resident"
SMALL = "timm/test_resnet"
#: Of a canvas, in pixels: the cells of c5.
STEP = 32
MIB = 2**20


def learned_words() -> Vocabulary:
    return learn_vocabulary([" ".join(WORDS)], "words")


def classifier(backbone: Backbone, kind: str, inputs: InputRecipe) -> Head:
    return classification_task(backbone, CLASSES, inputs=inputs, head=KINDS[kind]["classification"]).head


def segmenter(backbone: Backbone, kind: str, inputs: InputRecipe) -> Head:
    evaluator = SegmentationEvaluator(CLASSES, readout="softmax")
    name = KINDS[kind]["segmentation"]
    options = SegmentationOptions()
    return segmentation_task(backbone, inputs=inputs, head=name, head_options=options, evaluator=evaluator).head


def detector(backbone: Backbone, kind: str, inputs: InputRecipe) -> Head:
    name = KINDS[kind]["detection"]
    levels = levels_read(name, backbone.specs)
    anchors = usual_anchors("usual", pyramid_strides(name, levels), octaves=3 if name == "retinanet" else 1)
    options = DetectionOptions(levels=levels, width=NARROW if kind == "light" else 128, hidden=512)
    evaluator = DetectionEvaluator(CLASSES)
    return detection_task(backbone, evaluator, inputs=inputs, head=name, head_options=options, anchors=anchors).head


def captioner(backbone: Backbone, kind: str, inputs: InputRecipe) -> Head:
    name, levels = KINDS[kind]["captioning"], ["c5"]
    options = CaptionOptions(width=128, hidden=256) if kind == "light" else CaptionOptions()
    return build_head(name, levels, channels_of(backbone, name, levels), learned_words(), options)


def answerer(backbone: Backbone, kind: str, inputs: InputRecipe) -> Head:
    name = KINDS[kind]["vqa"]
    options = VqaOptions(level="embedding" if name == "product" else "c5")
    evaluator = VqaEvaluator(ANSWERS, QuestionPrior({}, {}, ANSWERS[0]))
    reader = QuestionReader(learned_words())
    return vqa_task(backbone, evaluator, inputs=inputs, head=name, head_options=options, reader=reader).head


BUILDERS: dict[str, Callable[[Backbone, str, InputRecipe], Head]] = {
    "classification": classifier,
    "segmentation": segmenter,
    "detection": detector,
    "captioning": captioner,
    "vqa": answerer,
}


def all_levels(kind: str) -> list[str]:
    """Return what the heads of a kind read together."""
    return [*([] if kind == "light" else ["c1", "c2"]), "c3", "c4", "c5", "embedding"]


def build_model(name: str, kind: str, side: int, tasks: Sequence[str] = TASKS) -> MultiHead:
    """Return a trunk with everything that all heads of a kind read, and the heads of some tasks on it."""
    backbone = build_backbone(name, weights="none", levels=all_levels(kind))
    inputs = make_recipe(backbone.preprocessing, (side, side), "stretch")
    heads = {task: BUILDERS[task](backbone, kind, inputs) for task in tasks}
    return MultiHead(backbone, heads, dict.fromkeys(heads, inputs)).eval()


def cut_trunk(whole: Backbone, levels: Sequence[str]) -> Backbone:
    """Return the trunk that a head has by itself: what its levels need, with the same values."""
    backbone = build_backbone(whole.name, weights="none", levels=levels)
    values = whole.network.state_dict()
    backbone.network.load_state_dict({name: values[name] for name in backbone.network.state_dict()})
    return backbone


def take_apart(joint: MultiHead, trunks: str) -> dict[str, MultiHead]:
    """Return for each head a model of its own that shares nothing with the others.

    Args:
        joint: The model of all.
        trunks: ``same``: each with all of the trunk; ``own``: with what its head reads.
    """
    models = {}
    for task in joint.heads:
        head, whole = deepcopy(joint.heads[task]), joint.backbone
        trunk = deepcopy(whole) if trunks == "same" else cut_trunk(whole, head.levels)
        models[task] = MultiHead(trunk, {task: head}, {task: joint.inputs}).eval()
    return models


def stop_early(model: MultiHead, outputs: str) -> None:
    """Let heads that go on to detections and texts do so, or not; nothing inside of them is switched to training."""
    for task in GO_ON:
        if task in model.heads:
            model.heads[task].training = outputs == "raw"


def leaves(output: Any) -> Iterator[Tensor]:
    """Give all tensors of a head's output."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for part in output.values() if isinstance(output, dict) else output:
            yield from leaves(part)
    elif hasattr(output, "__dict__"):
        yield from leaves(vars(output))


def check_same(joint: dict[str, Any], alone: dict[str, Any]) -> None:
    """End the benchmark unless both sides computed the same to the bit.

    Raises:
        SystemExit: Naming the first task of which they didn't.
    """
    for task, output in joint.items():
        pairs = list(zip(leaves(output), leaves(alone[task]), strict=True))
        if not pairs or not all(torch.equal(*pair) for pair in pairs):
            raise SystemExit(
                f"{task}: together with other heads it says something else than alone. Both sides have to do the same "
                "work to be compared; mend that first."
            )


def random_batch(joint: MultiHead, size: int, side: int) -> tuple[Tensor, Context]:
    """Return pictures, normalised float32 ``[B, C, H, W]``, that fill the canvas, and a question about each."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=generator)
    sizes = torch.full((size, 2), side)
    return joint.backbone.preprocessing.normalize(pixels), Context(
        (side, side), sizes, sizes, questions=((QUESTION,),) * size
    )


def milliseconds_of(compute: Callable[[], object]) -> float:
    started = time.perf_counter()
    compute()
    return 1000 * (time.perf_counter() - started)


@torch.inference_mode()
def measure_passes(
    joint: MultiHead, alone: dict[str, MultiHead], arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the milliseconds of each round: ``trunk``, ``together``, ``separate``, and of each task ``head of TASK``.

    Of trunks that were cut there is ``trunk of TASK`` too.

    Raises:
        SystemExit: If the two sides don't say the same.
    """
    images, context = random_batch(joint, arguments.batch_size, arguments.image_size)
    features = joint.features(images)
    contexts = dict.fromkeys(joint.heads, context)

    def separate() -> dict[str, Any]:
        return {task: model(images, {task: context})[task] for task, model in alone.items()}

    check_same(joint(images, contexts), separate())
    contenders: dict[str, Callable[[], object]] = {"trunk": lambda: joint.features(images)}
    for task, model in alone.items():
        if arguments.trunks == "own":
            contenders[f"trunk of {task}"] = partial(model.features, images)
        contenders[f"head of {task}"] = partial(joint.heads[task], joint.read_by(task, features), context)
    contenders |= {"together": lambda: joint(images, contexts), "separate": separate}
    for compute in contenders.values():  # what a first call lays out is no part of its time
        compute()
    return take_turns(
        arguments.rounds, {name: partial(milliseconds_of, compute) for name, compute in contenders.items()}
    )


def ideal_ratios(found: dict[str, list[float]]) -> list[float]:
    """Return of each round the ratio of separate passes to one together if nothing but trunks and heads took time."""
    heads = [sum(each) for each in zip(*(found[f"head of {task}"] for task in TASKS), strict=True)]
    trunks = [found.get(f"trunk of {task}", found["trunk"]) for task in TASKS]
    alone = [sum(each) for each in zip(*trunks, strict=True)]
    return [(five + rest) / (one + rest) for five, one, rest in zip(alone, found["trunk"], heads, strict=True)]


def show_passes(found: dict[str, list[float]], outputs: str) -> None:
    """Print what the passes took, and how near their ratio is to what it can be."""
    end = "raw outputs, without detections and texts" if outputs == "raw" else "to the end, with detections and texts"
    gained = [five / one for five, one in zip(found["separate"], found["together"], strict=True)]
    ideal = ideal_ratios(found)
    heads = ", ".join(f"{task} {median(found[f'head of {task}']):.1f}" for task in TASKS)
    print(
        f"  forward of the heads: {end}\n"
        f"    trunk T              {spread(found['trunk'])} ms\n"
        f"    heads H              {heads} ms\n"
        f"    together             {spread(found['together'])} ms\n"
        f"    separate             {spread(found['separate'])} ms\n"
        f"    separate / together  {spread(gained)}; ideal {spread(ideal)}\n"
        f"    share of the ideal   {ratio(gained, ideal)}",
        flush=True,
    )


def count_bytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers."""
    return sum(each.nbytes for part in (module.parameters(), module.buffers()) for each in part)


def show_weights(joint: MultiHead, alone: dict[str, MultiHead], trunks: str) -> None:
    """Print the bytes of weights of both sides, and their ratio beside that of one trunk's share to five."""
    one, five = count_bytes(joint), sum(map(count_bytes, alone.values()))
    trunk, heads = count_bytes(joint.backbone), sum(map(count_bytes, joint.heads.values()))
    ideal = (sum(count_bytes(model.backbone) for model in alone.values()) + heads) / (trunk + heads)
    print(
        f"  weights in memory, trunks {trunks}\n"
        f"    trunk {trunk / MIB:.1f} MiB, heads {heads / MIB:.1f} MiB\n"
        f"    counted              together {one / MIB:.1f}, separate {five / MIB:.1f} MiB; ratio {five / one:.2f}, "
        f"ideal {ideal:.2f}",
        flush=True,
    )


def resident() -> int | None:
    """Return the bytes of memory that this process holds and uses; None where the system doesn't say."""
    file = Path("/proc/self/statm")
    if not file.is_file():
        return None
    gc.collect()
    # memory that was freed would stay with the process, and hide what is built into it
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(file.read_text().split()[1]) * mmap.PAGESIZE


def print_resident(name: str, kind: str, side: int, side_of: str) -> None:
    """Print as JSON by how many bytes this process grows when it builds one side: ``together``, ``same`` or ``own``."""

    def build(trunk: str) -> list[MultiHead]:
        if side_of == "together":
            return [build_model(trunk, kind, side)]
        if side_of == "same":
            return [build_model(trunk, kind, side, [task]) for task in TASKS]
        return list(take_apart(build_model(trunk, kind, side), "own").values())

    build(SMALL)  # imports what is imported late
    before = resident()
    models = build(name)
    after = resident()
    assert models
    print(json.dumps(None if before is None or after is None else after - before))


def show_resident(name: str, kind: str, arguments: argparse.Namespace) -> None:
    """Print by how much processes grow that build one side each."""
    grown = []
    for side_of in ("together", arguments.trunks):
        words = (sys.executable, __file__, CHILD, name, kind, arguments.image_size, side_of)
        _, said = run(*words, threads=torch.get_num_threads())
        grown.append(json.loads(said.splitlines()[-1]))
    one, five = grown
    figures = "not measured: this system has no /proc/self/statm"
    if one is not None:
        figures = f"together {one / MIB:.1f}, separate {five / MIB:.1f} MiB; ratio {five / one:.2f}"
    print(f"    resident             {figures}", flush=True)


def compare(name: str, kind: str, arguments: argparse.Namespace) -> None:
    """Print the figures of a trunk with a kind of heads."""
    torch.manual_seed(0)
    joint = build_model(name, kind, arguments.image_size)
    alone = take_apart(joint, arguments.trunks)
    print(
        f"\n{name}, {kind} heads ({', '.join(KINDS[kind].values())}), {arguments.image_size} x {arguments.image_size}, "
        f"fp32 on the CPU, batch {arguments.batch_size}, {torch.get_num_threads()} threads, {arguments.rounds} rounds",
        flush=True,
    )
    for outputs in arguments.outputs:
        for model in (joint, *alone.values()):
            stop_early(model, outputs)
        show_passes(measure_passes(joint, alone, arguments), outputs)
    show_weights(joint, alone, arguments.trunks)
    show_resident(name, kind, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0", "resnet50", "vgg16"])
    parser.add_argument("--heads", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--outputs", nargs="+", choices=("raw", "final"), default=["raw", "final"])
    parser.add_argument("--trunks", choices=("same", "own"), default="same", help="of the five models (default: same)")
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides run (default: 5)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224, help="a multiple of 32 (default: 224)")
    arguments = parser.parse_args()
    if arguments.image_size < STEP or arguments.image_size % STEP:
        parser.error(f"--image-size {arguments.image_size}: a multiple of {STEP}, such as 224")
    if min(arguments.rounds, arguments.batch_size) < 1:
        parser.error("--rounds and --batch-size: at least 1")
    for backbone in arguments.backbones:
        for kind in arguments.heads:
            compare(backbone, kind, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        print_resident(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        main()
