"""The statement of the superset format, and what is said of a file that breaks it."""

import copy
import json
import random
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from onetrunk.datasets import DataError
from onetrunk.datasets.superset_schema import find_violation, fits, read_checked, read_schema

_KEYWORDS = {
    *("$ref", "type", "enum", "minimum", "minLength", "pattern", "minItems", "maxItems", "items", "uniqueItems"),
    *("required", "dependentRequired", "properties"),
}
"""What ``fits`` looks at."""

_WORDS = {"$schema", "title", "description", "$defs"}


def _plain():
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 10, "height": 8},
            {"id": "b", "file_name": "b.png", "width": 10.0, "height": 8, "known": ["captions", "qa"]},
        ],
        "categories": [{"id": 1, "name": "cat", "isthing": 0}, {"id": 7, "name": "dog", "supercategory": "animal"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0.5, 3, 3], "area": 9.5, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 3, 3], "segmentation": [[0, 0, 3.5, 0, 3, 3]]},
            {
                "id": 3,
                "image_id": 1,
                "category_id": 7,
                "bbox": [0, 0, 3, 3],
                "segmentation": {"size": [8, 10], "counts": "abc"},
            },
            {
                "id": 4,
                "image_id": 1,
                "category_id": 7,
                "bbox": [0, 0, 3, 3],
                "segmentation": {"size": [8, 10], "counts": [3, 77]},
            },
        ],
        "captions": [{"id": 1, "image_id": "b", "caption": "a cat"}, {"image_id": "b", "caption": ""}],
        "qa": [
            {"id": 1, "image_id": "b", "question": "how many?", "answers": ["two", "2"], "answer_type": "number"},
            {"id": "q2", "image_id": "b", "question": "where?"},
        ],
        "labels": [{"image_id": 1, "label": "cat", "bbox": [0, 0, 3, 3]}, {"image_id": 1, "label": "dog"}],
        "info": {"year": 2024},
    }


def _put(plain, steps, value):
    for step in steps[:-1]:
        plain = plain[step]
    if value is _GONE:
        del plain[steps[-1]]
    else:
        plain[steps[-1]] = value


_GONE = object()


def test_the_schema_is_one_of_draft_2020_12_and_uses_what_is_looked_at():
    schema = read_schema()
    Draft202012Validator.check_schema(schema)

    def walk(node):
        assert node.keys() <= _KEYWORDS | _WORDS
        assert "$ref" in node or {"type", "description"} <= node.keys(), "messages say what is allowed by it"
        for part in (*node.get("properties", {}).values(), *node.get("$defs", {}).values()):
            walk(part)
        if "items" in node:
            walk(node["items"])

    walk(schema)


def test_a_file_of_everything_fits():
    assert find_violation(_plain()) is None
    assert not list(Draft202012Validator(read_schema()).iter_errors(_plain()))
    assert find_violation({"images": _plain()["images"]}) is None


def test_the_documented_example_fits():
    text = (Path(__file__).parents[2] / "docs" / "superset.md").read_text()
    assert find_violation(json.loads(text.split("```json")[1].split("```")[0])) is None


@pytest.mark.parametrize(
    ("steps", "value", "message"),
    [
        (
            ["images", 1, "width"],
            "wide",
            r"images\[1\]\.width is 'wide'; it has to be a whole number of pixels, from 1 on",
        ),
        (["images", 1, "width"], True, r"images\[1\]\.width is True; it has to be a whole number of pixels"),
        (["images", 0, "height"], 0, r"images\[0\]\.height is 0; it has to be a whole number of pixels, from 1 on\."),
        (["images", 0, "height"], 7.5, r"images\[0\]\.height is 7\.5; it has to be a whole number"),
        (["images", 0, "file_name"], "", r"images\[0\]\.file_name is ''; it has to be its path below the data set's f"),
        (["images", 0, "id"], None, r"images\[0\]\.id is None; it has to be a whole number or text\."),
        (
            ["images", 0, "width"],
            _GONE,
            r"images\[0\] has no 'width'; it has id, file_name, height\. It has to be a pic",
        ),
        (["images", 0], [], r"images\[0\] is \[\]; it has to be a picture, an object with id, file_name, width and he"),
        (["images"], {}, r"images is \{\}; it has to be a list of at least one picture\."),
        (["images"], [], r"images is \[\]; it has to be a list of at least one picture\."),
        (
            ["images"],
            _GONE,
            r"the file has no 'images'; it has categories, annotations, captions, qa, labels, info\. It",
        ),
        (
            ["images", 1, "known", 1],
            "caption",
            r"images\[1\]\.known\[1\] is 'caption'; it has to be annotations, captions",
        ),
        (
            ["images", 1, "known", 1],
            ["qa"],
            r"images\[1\]\.known\[1\] is \['qa'\]; it has to be annotations, captions, qa",
        ),
        (["images", 1, "known", 1], "captions", r"images\[1\]\.known is \['captions', 'captions'\]; .* each once"),
        (
            ["categories"],
            _GONE,
            r"it has 'annotations' but no 'categories', which name their classes\. It has to be an ob",
        ),
        (["categories", 1, "id"], "7", r"categories\[1\]\.id is '7'; it has to be a whole number\."),
        (
            ["categories", 1, "name"],
            "",
            r"categories\[1\]\.name is ''; it has to be the name of a class, text that isn't",
        ),
        (["categories", 1, "name"], " \t", r"categories\[1\]\.name is ' \\t'; it has to be the name .* empty or blank"),
        (["labels", 0, "label"], "  ", r"labels\[0\]\.label is '  '; it has to be the name of a class, .* or blank\."),
        (
            ["categories", 0, "isthing"],
            2,
            r"categories\[0\]\.isthing is 2; it has to be 0 for matter such as grass, 1 f",
        ),
        (
            ["annotations", 0, "bbox"],
            [1, 2, 3],
            r"annotations\[0\]\.bbox is \[1, 2, 3\]; it has to be four numbers, left,",
        ),
        (
            ["annotations", 0, "bbox"],
            [1] * 5,
            r"annotations\[0\]\.bbox is \[1, 1, 1, 1, 1\]; it has to be four numbers",
        ),
        (["annotations", 0, "bbox", 2], "a", r"annotations\[0\]\.bbox\[2\] is 'a'; it has to be a number\."),
        (
            ["annotations", 0, "area"],
            -1,
            r"annotations\[0\]\.area is -1; it has to be a number of square pixels, from 0",
        ),
        (["annotations", 0, "iscrowd"], 3, r"annotations\[0\]\.iscrowd is 3; it has to be 0, or 1 for a crowd\."),
        (
            ["annotations", 1, "segmentation"],
            "x",
            r"annotations\[1\]\.segmentation is 'x'; it has to be a list of polygo",
        ),
        (
            ["annotations", 1, "segmentation", 0],
            4,
            r"annotations\[1\]\.segmentation\[0\] is 4; it has to be a polygon, a",
        ),
        (
            ["annotations", 1, "segmentation", 0, 3],
            None,
            r"annotations\[1\]\.segmentation\[0\]\[3\] is None; it has to be",
        ),
        (
            ["annotations", 2, "segmentation", "counts"],
            _GONE,
            r"annotations\[2\]\.segmentation has no 'counts'; it has s",
        ),
        (
            ["annotations", 2, "segmentation", "size"],
            [8],
            r"annotations\[2\]\.segmentation\.size is \[8\]; it has to be h",
        ),
        (
            ["annotations", 3, "segmentation", "counts", 1],
            -1,
            r"annotations\[3\]\.segmentation\.counts\[1\] is -1; it has",
        ),
        (["captions", 1, "caption"], 3, r"captions\[1\]\.caption is 3; it has to be text\."),
        (["captions", 1, "image_id"], 1.5, r"captions\[1\]\.image_id is 1\.5; it has to be a whole number or text\."),
        (["qa", 0, "question"], None, r"qa\[0\]\.question is None; it has to be text\."),
        (["qa", 0, "answers"], "two", r"qa\[0\]\.answers is 'two'; it has to be a list of what people answered"),
        (["qa", 0, "answers", 1], 2, r"qa\[0\]\.answers\[1\] is 2; it has to be text\."),
        (
            ["qa", 1, "id"],
            _GONE,
            r"qa\[1\] has no 'id'; it has image_id, question\. It has to be a question, an object",
        ),
        (["labels", 0, "label"], ["cat"], r"labels\[0\]\.label is \['cat'\]; it has to be the name of a class"),
        (["labels", 1], {"image_id": 1, "lable": "cat"}, r"labels\[1\] has no 'label'; .* Did you mean 'lable'"),
        (["labels", 1], {}, r"labels\[1\] has no 'image_id'; it has nothing\. It has to be a label of a picture"),
        (["labels"], "x" * 99, r"labels is 'x{59}\.\.\.; it has to be a list of labels of pictures\."),
    ],
)
def test_what_breaks_the_schema_is_said_with_file_and_place(tmp_path, steps, value, message):
    plain = _plain()
    _put(plain, steps, value)
    path = tmp_path / "superset_train.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(DataError, match=rf"superset_train\.json: {message}"):
        read_checked(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', r"superset_train\.json: this can't be read as JSON \(Expecting value.*\)\. Is it cut off\?"),
        ('{"images": [{"id": NaN}]}', r"this can't be read as JSON \(NaN is no number of JSON's\)"),
        ("[1, 2]", r"superset_train\.json: the file is \[1, 2\]; it has to be an object with a list 'images'"),
        ('"images"', r"superset_train\.json: the file is 'images'; it has to be an object"),
        ("\ufeff{}", r"the file has no 'images'; it has nothing"),
    ],
)
def test_what_is_no_such_json_is_refused(tmp_path, text, message):
    path = tmp_path / "superset_train.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_checked(path)
    with pytest.raises(DataError, match=r"none\.json: this can't be read as JSON"):
        read_checked(tmp_path / "none.json")


def test_the_first_of_many_entries_that_breaks_it_is_named():
    plain = _plain()
    plain["captions"] = [{"image_id": 1, "caption": "a"} for _ in range(1000)]
    for place in (999, 700, 333):
        plain["captions"][place]["caption"] = place
        assert find_violation(plain) == f"captions[{place}].caption is {place}; it has to be text."


def _places(value, steps=()):
    """The place of every value in a file's content."""
    found = [steps] if steps else []
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += _places(part, (*steps, key))
    return found


def test_columns_and_jsonschema_are_of_one_opinion():
    """Any value in the place of any other, seen by ``fits`` and by the reference implementation."""
    values = [None, True, 0, -1, 3, 2.0, 2.5, 1e999, "", "qa", [], [1], ["a"], [[1, 2]], {}, {"id": 1}, _GONE]
    validator, draw = Draft202012Validator(read_schema()), random.Random(0)
    fitting = 0
    for steps in _places(_plain()):
        for value in draw.sample(values, 2):
            plain = copy.deepcopy(_plain())
            _put(plain, list(steps), value)
            is_valid = validator.is_valid(plain)
            fitting += is_valid
            assert fits(read_schema(), [plain]) == is_valid, (steps, value)
            assert (find_violation(plain) is None) == is_valid, (steps, value)
    assert fitting > 40, "both opinions occur"
