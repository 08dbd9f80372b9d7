"""Mask R-CNN: regions as targets, masks in pixels of the file, their figures, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch
from onetrunk.apps.cli import main
from onetrunk.apps.detection.coco_results import COCO_DATA, COCO_RESULTS
from onetrunk.apps.detection.detections import Detections
from onetrunk.apps.detection.masks import (
    decode_masks,
    encode_masks,
    mask_areas,
    pack_codes,
    paste_masks,
    unpack_codes,
)
from onetrunk.apps.detection.metrics import make_evaluator
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.datasets import Batch, Context, Objects
from onetrunk.datasets.regions import draw_regions
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 40
QUICK = (
    "--head mask_rcnn --backbone timm/test_resnet --weights none --image-size 64 --batch-size 4 --workers 0 "
    "--device cpu --learning-rate 0.003 --optim.trunk-factor 1 --head-options.width 32 --head-options.hidden 32 "
    "--head-options.levels c2 c3 c4 --head-options.drawn-proposals 16 --head-options.anchors data"
).split()


@pytest.fixture(scope="module")
def region_folder(tmp_path_factory):
    """A COCO folder of pictures with a bright disc or none, some regions polygons, some run lengths, and a crowd."""
    root = tmp_path_factory.mktemp("regions")
    (root / "annotations").mkdir()
    for split, number in (("train", 12), ("val", 6)):
        (root / split).mkdir()
        images, annotations = [], []
        for place in range(number):
            picture = Image.new("RGB", (64, 48), (40, 40, 40 + place))
            images.append({"id": place, "file_name": f"{place}.png", "width": 64, "height": 48})
            if place % 4:
                left, top = 4 + 3 * place, 2 + place
                ImageDraw.Draw(picture).ellipse((left, top, left + 23, top + 23), fill=(230, 90, 20))
                about = {"id": place, "image_id": place, "category_id": 1, "iscrowd": 0, "area": 452.0}
                annotations.append({**about, "bbox": [left, top, 24, 24], "segmentation": region(left, top, place)})
            if place == 1:
                crowd = {"counts": [0, 48 * 4, 48 * 60], "size": [48, 64]}
                about = {"id": 100, "image_id": place, "category_id": 1, "iscrowd": 1, "area": 192}
                annotations.append({**about, "bbox": [0, 0, 4, 48], "segmentation": crowd})
            picture.save(root / split / f"{place}.png")
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def region(left, top, place):
    """A disc of 24 pixels: a polygon, run lengths, or compressed ones."""
    turns = [2 * math.pi * step / 24 for step in range(24)]
    polygon = [value for turn in turns for value in (left + 12 + 12 * math.cos(turn), top + 12 + 12 * math.sin(turn))]
    code = coco.merge(coco.frPyObjects([polygon], 48, 64))
    if place % 3 == 0:
        return [polygon]
    if place % 3 == 1:
        return {"size": [48, 64], "counts": code["counts"].decode()}
    flat = coco.decode(code).flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [48, 64], "counts": np.diff([0, *edges.tolist(), len(flat)]).tolist()}


def test_trained_masks_from_start_to_end(region_folder, tmp_path, capsys):
    run, data = tmp_path / "run", str(region_folder)
    assert main(["detection", "train", "--data", data, "--output", str(run), "--epochs", "14", *QUICK]) == 0
    card = json.loads((run / "results.json").read_text())
    assert set(card["metrics"]) >= {"mask_ap", "mask_ap50", "mask_ap75"}
    assert card["metrics"]["mask_ap50"]["value"] > 0.5
    out = tmp_path / "out"
    assert main(["detection", "evaluate", "--model", str(run), "--data", data, "--output", str(out)]) == 0
    evaluated = json.loads((out / "results.json").read_text())["metrics"]
    truth = COCO(str(region_folder / "annotations" / "instances_val.json"))
    figures = COCOeval(truth, truth.loadRes(str(out / COCO_RESULTS)), "segm")
    for step in (figures.evaluate, figures.accumulate, figures.summarize):
        step()
    for name, value in zip(("mask_ap", "mask_ap50", "mask_ap75"), figures.stats[:3], strict=True):
        assert evaluated[name]["value"] == pytest.approx(value, abs=1e-9)
    drawn, pictures = tmp_path / "drawn", str(region_folder / "val")
    assert (
        main(
            [
                "detection",
                "predict",
                "--model",
                str(run),
                "--output",
                str(drawn),
                "--threshold",
                "0.1",
                "--images",
                pictures,
            ]
        )
        == 0
    )
    rows = json.loads((drawn / "predictions.json").read_text())
    found = [one for row in rows for one in row["objects"]]
    assert found
    assert all(one["segmentation"]["size"] == [48, 64] for one in found)
    content = json.loads((drawn / COCO_DATA).read_text())
    assert [one["area"] for one in content["annotations"]] == mask_areas(
        [one["segmentation"] for one in found]
    ).tolist()
    capsys.readouterr()


def test_regions_become_masks_in_the_order_of_the_sound_objects():
    polygon = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]
    runs = {"counts": [0, 10, 70], "size": [10, 8]}
    objects = Objects(
        boxes=((0, 0, 1, 10), (3, 3, 3, 4), (2, 1, 6, 4), (0, 0, 8, 2)),
        names=("a", "b", "a", "c"),
        ignored=(False, False, False, True),
        regions=(runs, None, polygon, None),
    )
    masks = draw_regions(objects, (10, 8))
    assert masks.dtype == torch.uint8
    assert masks.shape == (3, 10, 8)
    assert masks.flatten(1).sum(dim=1).tolist() == [10, 12, 0]
    assert masks[0, :, 0].all()
    assert masks[1, 1:4, 2:6].all()
    assert draw_regions(Objects(), (10, 8)).shape == (0, 10, 8)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, r"notes.json: object 1 \('a'\) has a box and no region.*crowd, or take --head faster_rcnn"),
        ([[1, 2, 3]], r"notes.json: object 1 \('a'\): its segmentation can't be read \(a polygon has at least three"),
        ({"size": [10, 8]}, "no counts or corners"),
        ({"counts": [3, 4], "size": [10, 8]}, "its runs are not whole numbers that add up to 10 x 8 pixels"),
        ({"counts": [80], "size": [8, 10]}, r"it is one of \[8, 10\] pixels"),
    ],
)
def test_regions_that_cannot_be_read(shape, message):
    objects = Objects(boxes=((0, 0, 1, 10),), names=("a",), regions=(shape,), source="notes.json")
    with pytest.raises(ValueError, match=message):
        draw_regions(objects, (10, 8))


@pytest.mark.parametrize("keeps", ["none", "some"])
def test_data_without_regions_are_refused(region_folder, tmp_path, capsys, keeps):
    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / split).symlink_to(region_folder / split)
        content = json.loads((region_folder / "annotations" / f"instances_{split}.json").read_text())
        for each in content["annotations"]:
            if keeps == "none" or each["id"] == 2:
                each.pop("segmentation")
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    words = ["detection", "train", "--data", str(root), "--output", str(tmp_path / "run"), "--epochs", "1", *QUICK]
    assert main(words) == 2
    message = capsys.readouterr().err
    if keeps == "none":
        assert "have boxes and no regions, and --head mask_rcnn learns masks" in message
    else:
        assert "annotation 2 ('disc') has a box and no region" in message


def test_masks_lie_in_their_boxes():
    """A sure mask fills its box; of one that is sure in its left half that half is inside."""
    masks = torch.ones(2, 28, 28)
    masks[1, :, 14:] = 0
    boxes = torch.tensor([[10.0, 5.0, 30.0, 25.0], [0.0, 0.0, 20.0, 40.0]])
    codes = paste_masks(masks, boxes, (50, 60))
    drawn = decode_masks(codes)
    assert drawn.shape == (2, 50, 60)
    assert drawn[0, 6:24, 11:29].all()
    assert not drawn[0, :, :10].any()
    assert not drawn[0, 26:].any()
    assert drawn[1, 1:39, 1:9].all()  # the first pixels torchvision rounds away
    assert not drawn[1, :, 12:].any()
    assert mask_areas(codes).tolist() == drawn.sum(axis=(1, 2)).tolist()
    assert unpack_codes(bytes(np.array(pack_codes(codes, (50, 60))))) == codes
    assert unpack_codes(pack_codes([], (50, 60))) == []
    assert paste_masks(masks[:0], boxes[:0], (50, 60)) == encode_masks(torch.zeros(0, 5, 5)) == []


def random_picture(generator):
    """Return truths and detections of a picture, the masks of which are blots that overlap more or less."""
    count, found = int(generator.integers(0, 5)), int(generator.integers(0, 9))
    boxes = generator.integers(0, SIDE // 2, (count, 4)).astype(np.float32)
    boxes[:, 2:] = (boxes[:, 2:] + boxes[:, :2] + 3).clip(0, SIDE)
    masks = np.zeros((count, SIDE, SIDE), dtype=np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = generator.random((bottom - top, right - left)) < 0.9
    of_found = boxes[generator.integers(0, count, found)] if count else boxes[:0]
    of_found = (of_found + generator.normal(0, 1.5, of_found.shape)).clip(0, SIDE).astype(np.float32)
    of_found[:, 2:] = np.maximum(of_found[:, 2:], of_found[:, :2] + 1)
    classes = generator.integers(0, 2, count)
    return {
        "boxes": boxes,
        "classes": classes,
        "ignored": generator.random(count) < 0.2,
        "areas": masks.sum(axis=(1, 2)).astype(np.float64),
        "masks": masks,
        "found": Detections(
            torch.from_numpy(of_found),
            torch.from_numpy(np.sort(generator.random(len(of_found), dtype=np.float32))[::-1].copy()),
            torch.from_numpy(generator.integers(0, 2, len(of_found))),
            torch.from_numpy((generator.random((len(of_found), 28, 28)) < 0.97).astype(np.float32)),
            (SIDE, SIDE),
        ),
    }


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_pycocotools(seed):
    generator = np.random.default_rng(seed)
    pictures = [random_picture(generator) for _ in range(30)]
    evaluator = make_evaluator(("a", "b"), measures_masks=True, select="mask_ap")
    sizes = torch.full((len(pictures), 2), SIDE)
    targets = {
        f"full_{key}": [torch.from_numpy(one[key]) for one in pictures]
        for key in ("boxes", "classes", "ignored", "areas", "masks")
    }
    targets["full_sets"] = [torch.zeros(len(one["boxes"]), dtype=torch.int64) for one in pictures]
    names = [f"{place}.png" for place in range(len(pictures))]
    batch = Batch(None, {}, Context((1, 1), sizes, sizes), targets, torch.arange(len(pictures)), names)
    rows = evaluator.collect({"detections": [one["found"] for one in pictures]}, batch)
    images, _ = join_pieces([Piece(np.arange(len(pictures)), names, rows, [], 0.0)])
    values = evaluator.values(images)
    evaluation = evaluator.evaluate(images)
    expected = reference(pictures, evaluation.predictions)
    for name, value in zip(("mask_ap", "mask_ap50", "mask_ap75"), expected, strict=True):
        assert values[name] == pytest.approx(value, abs=1e-9)


def reference(pictures, predictions):
    annotations, results = [], []
    for image, (one, row) in enumerate(zip(pictures, predictions, strict=True), start=1):
        codes = encode_masks(torch.from_numpy(one["masks"]))
        for code, label, ignored, area in zip(codes, one["classes"], one["ignored"], one["areas"], strict=True):
            about = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label) + 1, "area": float(area)}
            annotations.append({**about, "iscrowd": int(ignored), "segmentation": code, "bbox": [0, 0, 1, 1]})
        for found, score in zip(row["objects"], one["found"].scores.tolist(), strict=True):
            category = 1 + "ab".index(found["class"])
            about = {"image_id": image, "category_id": category, "score": score}
            results.append({**about, "segmentation": found["segmentation"]})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image + 1, "height": SIDE, "width": SIDE} for image in range(len(pictures))],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": annotations,
    }
    truth.createIndex()
    figures = COCOeval(truth, truth.loadRes(results), "segm")
    for step in (figures.evaluate, figures.accumulate, figures.summarize):
        step()
    return figures.stats[:3]
