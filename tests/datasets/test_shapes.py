"""Generated scenes as a person finds them on the disk: what the files say is compared with the pictures' pixels."""

import colorsys
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onetrunk.datasets import SHAPE_COLORS, SHAPE_KINDS, DataError, write_shapes
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = 128
IMAGES = 240
SPLITS = ("train", "val", "test")
HUES = {"red": 0, "yellow": 52, "green": 120, "cyan": 182, "blue": 228, "purple": 288}
WORDS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass
class Shape:
    """What the files say of a shape, and the colour that the picture has there."""

    kind: str
    color: str
    box: list[int]
    area: int
    mask: NDArray[np.uint8]

    @property
    def center(self) -> tuple[float, float]:
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2


@dataclass
class Seen:
    """All that the files say of a picture."""

    image: dict[str, Any]
    shapes: list[Shape]
    captions: list[str]
    questions: dict[str, list[str]]
    labels: list[dict[str, Any]]
    split: str = ""
    names: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.names = Counter((shape.color, shape.kind) for shape in self.shapes)

    def find(self, color: str, kind: str) -> list[Shape]:
        """Return the shapes of a colour and kind; ``shape`` is any kind, and no colour any."""
        kinds = SHAPE_KINDS if kind == "shape" else (kind,)
        return [shape for shape in self.shapes if shape.kind in kinds and color in ("", shape.color)]


def _content(root: Path, split: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "annotations" / f"superset_{split}.json").read_text())
    return content


def _color(pixels: NDArray[np.uint8]) -> str:
    """Return the colour whose hue is nearest to the median's."""
    hue = 360 * colorsys.rgb_to_hsv(*(np.median(pixels, axis=0) / 255))[0]
    return min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))


def _read(root: Path) -> list[Seen]:
    scenes = []
    for split in SPLITS:
        content = _content(root, split)
        kinds = {each["id"]: each["name"] for each in content["categories"]}
        for image in content["images"]:
            pixels = np.asarray(Image.open(root / "images" / image["file_name"]))
            assert pixels.shape == (image["height"], image["width"], 3)
            own = {
                key: [each for each in content[key] if each["image_id"] == image["id"]]
                for key in ("annotations", "captions", "qa", "labels")
            }
            shapes = []
            for each in own["annotations"]:
                mask = coco_mask.decode(each["segmentation"])
                color = _color(pixels[mask > 0])
                shapes.append(Shape(kinds[each["category_id"]], color, each["bbox"], each["area"], mask))
            questions = {each["question"]: each["answers"] for each in own["qa"]}
            assert len(questions) == len(own["qa"])
            captions = [each["caption"] for each in own["captions"]]
            scenes.append(Seen(image, shapes, captions, questions, own["labels"], split))
    return scenes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "shapes"
    write_shapes(folder, images=IMAGES, size=SIZE, workers=1)
    return folder


@pytest.fixture(scope="module")
def scenes(root: Path) -> list[Seen]:
    return _read(root)


def _bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_from_any_number_of_processes(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 3, 1), ("two", 3, 2), ("other", 4, 1)):
        write_shapes(tmp_path / name, images=40, size=64, seed=seed, workers=workers)
    one, two, other = (_bytes(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


def test_more_images_keep_the_first_ones_in_their_splits(tmp_path: Path) -> None:
    assert write_shapes(tmp_path / "few", images=20, size=64, workers=1) == {"train": 14, "val": 3, "test": 3}
    assert write_shapes(tmp_path / "more", images=50, size=64, workers=1) == {"train": 35, "val": 8, "test": 7}
    few, more = _bytes(tmp_path / "few"), _bytes(tmp_path / "more")
    pictures = [name for name in few if name.endswith(".jpg")]
    assert len(pictures) == 20
    assert all(few[name] == more[name] for name in pictures)
    for split in SPLITS:
        first, longer = _content(tmp_path / "few", split), _content(tmp_path / "more", split)
        assert all(longer[key][: len(first[key])] == first[key] for key in first)


def test_the_fewest_scenes_fill_every_split(tmp_path: Path) -> None:
    assert write_shapes(tmp_path / "few", images=10, size=64) == {"train": 7, "val": 2, "test": 1}


def test_seventy_per_cent_are_for_training(root: Path, scenes: list[Seen]) -> None:
    assert Counter(scene.split for scene in scenes) == {"train": 168, "val": 36, "test": 36}
    assert all(scene.image["file_name"].startswith(f"{scene.split}/") for scene in scenes)
    assert len(list((root / "images").rglob("*.jpg"))) == IMAGES


def test_ids_are_unique_over_the_splits(root: Path) -> None:
    for key in ("images", "annotations", "captions", "qa"):
        ids = [each["id"] for split in SPLITS for each in _content(root, split)[key]]
        assert sorted(ids) == list(range(1, len(ids) + 1))


def test_boxes_are_tight_around_regions_that_do_not_overlap(scenes: list[Seen]) -> None:
    for scene in scenes:
        assert sum(shape.mask.astype(int) for shape in scene.shapes).max() <= 1 if scene.shapes else True
        for shape in scene.shapes:
            rows, columns = np.nonzero(shape.mask)
            left, top, width, height = shape.box
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert shape.area == len(rows)
            assert shape.area >= 0.005 * SIZE * SIZE
            assert max(width, height) <= 0.6 * SIZE


def test_some_shapes_are_partly_hidden(scenes: list[Seen]) -> None:
    """An unhidden circle fills about 0.79 of its box, whatever it is stretched to; a star less."""
    shares = [shape.area / (shape.box[2] * shape.box[3]) for scene in scenes for shape in scene.find("", "circle")]
    assert sum(share < 0.7 for share in shares) > 0.1 * len(shares)


def test_the_label_is_the_kind_of_the_shape_that_is_largest_by_half(scenes: list[Seen]) -> None:
    for scene in scenes:
        if not scene.shapes:
            continue
        largest, *others = sorted(scene.shapes, key=lambda shape: -shape.area)
        expected = {"image_id": scene.image["id"], "label": largest.kind, "bbox": largest.box}
        assert scene.labels == [expected]
        assert "known" not in scene.image
        assert not others or largest.area >= 1.5 * others[0].area


def test_one_scene_of_twelve_is_empty_and_all_that_is_said_of_it_says_so(scenes: list[Seen]) -> None:
    empty = [scene for scene in scenes if not scene.shapes]
    blocks = Counter((scene.image["id"] - 1) // 12 for scene in empty)
    assert blocks == dict.fromkeys(range(IMAGES // 12), 1)
    assert len({(scene.image["id"] - 1) % 12 for scene in empty}) > 4
    for scene in empty:
        assert not scene.labels
        assert scene.image["known"] == ["annotations", "captions", "qa"]
        assert all(re.search(r"\b(no|empty|without|nothing)\b", caption) for caption in scene.captions)
        assert sorted(scene.questions.values()) == [["0"], ["no"]]


def _beside(shape: Shape, other: Shape, words: str) -> bool:
    """Whether one shape is clearly on a side of another."""
    x, y = (there - here for there, here in zip(shape.center, other.center, strict=True))
    return _points(x, y, words)


def _off_center(shape: Shape, words: str) -> bool:
    return _points(shape.center[0] - SIZE / 2, shape.center[1] - SIZE / 2, words)


def _points(x: float, y: float, words: str) -> bool:
    far = {
        "left": -x,
        "to the left of": -x,
        "on the left": -x,
        "right": x,
        "to the right of": x,
        "on the right": x,
        "above": -y,
        "top": -y,
        "at the top": -y,
        "below": y,
        "bottom": y,
        "at the bottom": y,
    }[words]
    return far >= 0.12 * SIZE and far >= 1.5 * min(abs(x), abs(y))


SINGLE = rf"a (?P<color>{'|'.join(HUES)}) (?P<kind>{'|'.join(SHAPE_KINDS)})"
OTHER = SINGLE.replace("color", "color2").replace("kind", "kind2")


def _is_true(caption: str, scene: Seen) -> bool:
    """Whether a caption says nothing but what is in the picture; one in other words is an error."""
    text = re.sub(r"^(a picture of|a scene with|here we see) | on a patterned ground$", "", caption)
    largest = max(scene.shapes, key=lambda shape: shape.area)
    if found := re.fullmatch(
        rf"the largest shape is {SINGLE}|{OTHER} is (larger than the rest|the largest of all)", text
    ):
        names = [word for word in found.groups()[:4] if word]
        return len(scene.shapes) > 1 and names == [largest.color, largest.kind]
    if found := re.fullmatch(rf"{SINGLE} (to the left of|to the right of|above|below) {OTHER}", text):
        pairs = permutations(scene.shapes, 2)
        named = [
            pair
            for pair in pairs
            if [(each.color, each.kind) for each in pair] == [found.groups()[:2], found.groups()[3:]]
        ]
        return any(_beside(one, other, found[3]) for one, other in named)
    if found := re.fullmatch(rf"{SINGLE} (on the left|on the right|at the top|at the bottom)", text):
        return any(_off_center(shape, found[3]) for shape in scene.find(found[1], found[2]))
    if found := re.fullmatch(r"(?:there are )?(\w+) shapes(?:, (\w+) of them (\w+)| of different colours)?", text):
        counts = Counter(shape.color for shape in scene.shapes)
        if " of different " in text and max(counts.values()) > 1:
            return False
        number = {**WORDS, "all": len(scene.shapes)}.get(found[2] or "")
        return WORDS[found[1]] == len(scene.shapes) and (number is None or counts[found[3]] == number)
    text = re.sub(r"^a single | and nothing else$", lambda found: "a " if found[0].startswith("a") else "", text)
    return _listed(text) in (scene.names, Counter({("", kind): n for kind, n in _kinds(scene).items()}))


def _kinds(scene: Seen) -> Counter[str]:
    return Counter(shape.kind for shape in scene.shapes)


def _listed(text: str) -> Counter[tuple[str, str]]:
    """Return how many shapes of each colour and kind a list of them has."""
    listed: Counter[tuple[str, str]] = Counter()
    for item in re.split(r", | and ", text):
        found = re.fullmatch(rf"(\w+) (?:({'|'.join(HUES)}) )?({'|'.join(SHAPE_KINDS)})(s|es)?", item)
        assert found, f"'{item}' in '{text}'"
        assert bool(found[4]) == (WORDS[found[1]] > 1)
        listed[found[2] or "", found[3]] += WORDS[found[1]]
    return listed


def test_captions_are_true(scenes: list[Seen]) -> None:
    assert Counter(len(scene.captions) for scene in scenes).keys() == {2, 3, 4, 5}
    for scene in scenes:
        assert len(set(scene.captions)) == len(scene.captions)
        if scene.shapes:
            assert [caption for caption in scene.captions if not _is_true(caption, scene)] == []


def test_captions_are_checked_here_by_code_that_finds_false_ones(scenes: list[Seen]) -> None:
    """The captions of other scenes are mostly false of this one."""
    full = [scene for scene in scenes if scene.shapes]
    wrong = [not _is_true(caption, other) for one, other in pairwise(full) for caption in one.captions]
    assert np.mean(wrong) > 0.9


def test_some_captions_of_each_sort_are_there(scenes: list[Seen]) -> None:
    text = "\n".join(caption for scene in scenes for caption in scene.captions)
    for words in (
        "to the left of",
        "above",
        "on the right",
        "at the bottom",
        "largest",
        "single",
        "of them",
        "no shape",
    ):
        assert words in text
    assert all(f"{color} {kind}" in text for color in SHAPE_COLORS for kind in SHAPE_KINDS)


NAME = rf"(?:({'|'.join(HUES)}) )?({'|'.join(SHAPE_KINDS)}|shape)(?:s|es)?"


def _answer(question: str, answer: str, scene: Seen) -> str:
    """Return the answer that the picture gives."""
    if found := re.fullmatch(rf"where is the {NAME} relative to the {NAME}\?", question):
        (one,), (other,) = scene.find(found[1] or "", found[2]), scene.find(found[3] or "", found[4])
        return answer if _beside(one, other, answer) else "?"
    if found := re.fullmatch(rf"(?:where|in which part of the picture) is the {NAME}\?", question):
        (one,) = scene.find(found[1] or "", found[2])
        return answer if _off_center(one, answer) else "?"
    if found := re.fullmatch(rf"(?:how many|what is the number of) {NAME}(?: are there| can you see)?\?", question):
        return str(len(scene.find(found[1] or "", found[2])))
    if found := re.fullmatch(rf"(?:is there|can you see|does the picture show) a {NAME}\?", question):
        return "yes" if scene.find(found[1] or "", found[2]) else "no"
    found = re.fullmatch(r"(?:what|which) colour (?:is|does) the (largest )?(\w+)(?: have)?\?", question)
    assert found, question
    if found[1]:
        return max(scene.shapes, key=lambda shape: shape.area).color
    (one,) = scene.find("", found[2])
    return one.color


def test_answers_are_true(scenes: list[Seen]) -> None:
    for scene in scenes:
        assert 2 <= len(scene.questions) <= 7
        for question, answers in scene.questions.items():
            assert answers == [_answer(question, answers[0], scene)], (scene.image, question)


def test_whoever_does_not_look_fails(scenes: list[Seen]) -> None:
    labels = Counter(scene.labels[0]["label"] for scene in scenes if scene.labels)
    assert labels.keys() == set(SHAPE_KINDS)
    assert max(labels.values()) < 0.28 * sum(labels.values())
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for scene in scenes:
        for question, (answer,) in scene.questions.items():
            sort = "number" if "number" in question else question.split()[0].replace("which", "what")
            answers["colour" if "colour" in question else sort][answer] += 1
    whether = answers["is"] + answers["can"] + answers["does"]
    assert 0.44 < whether["yes"] / whether.total() < 0.56
    numbers = answers["how"] + answers["number"]
    assert numbers.keys() == set("012345")
    assert max(numbers.values()) < 0.33 * numbers.total()
    assert answers["colour"].keys() == set(HUES)
    assert max(answers["colour"].values()) < 0.25 * answers["colour"].total()
    sides = answers["where"] + answers["in"]
    assert sides.keys() == {"left", "right", "top", "bottom", "above", "below"}


def test_the_ground_tells_nothing_of_the_shapes(scenes: list[Seen], root: Path) -> None:
    """The mean colour around a shape is the same for every kind, but for chance."""
    means: defaultdict[str, list[float]] = defaultdict(list)
    for scene in scenes:
        if scene.shapes:
            pixels = np.asarray(Image.open(root / "images" / scene.image["file_name"]))
            ground = pixels[sum(shape.mask for shape in scene.shapes) == 0]
            means[scene.labels[0]["label"]].append(float(ground.mean()))
    every = np.concatenate(list(means.values()))
    for values in means.values():
        assert abs(np.mean(values) - every.mean()) < 4 * every.std() / np.sqrt(len(values))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"images": 9}, "9 images are too few for a train, a val and a test split: write 10 or more"),
        ({"size": 63}, "63 x 63 pixels can't be written: choose a size from 64 to 1,024"),
        ({"size": 1025}, "1025 x 1025 pixels can't be written"),
        ({"seed": -1}, "-1 is no seed: choose a whole number, 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, numbers: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        write_shapes(tmp_path / "shapes", **numbers)
    assert not (tmp_path / "shapes").exists()


def test_a_folder_that_holds_something_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="into an empty folder only"):
        write_shapes(tmp_path, images=10, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
