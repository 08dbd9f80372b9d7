"""The COCO superset: one JSON file a split that holds all that is known of its pictures, for every task.

::

    shapes/annotations/superset_train.json     images, categories, annotations as COCO's; captions, qa, labels
    shapes/images/train/000001.jpg             pictures are found as those of ``coco.py``

``docs/superset.md`` describes it, ``superset.schema.json`` states it, and a file is checked against that before it is
used. A key that a file lacks is unknown for all of its pictures, and one that a picture's ``known`` doesn't list is
unknown for that picture, which is then left out of the data set of such a kind. What is known and empty is a negative.

Masks, boxes of objects and regions are read by ``coco.py``, captions and questions cleaned as everywhere
(``texts.py``). One entry a picture in ``labels``, in every split, makes them classes of which a picture has one;
otherwise a picture has any number. Their boxes are those of localization.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .asked_pictures import AskedPictures, few, note_unanswered
from .captioned import Caption, CaptionedImages
from .coco import CocoSplit, Picture, box_contents, mask_contents, object_contents
from .contents import Contents, one_label
from .questions import Question
from .sample import DataError, Record
from .superset_files import count_pictures, has_regions, keys_of_superset, read_files, reading_once, superset_base
from .table_rows import none_exists
from .texts import note_empty

_HINT = "Pictures are looked for by their file_name in the data set's folder and in its folder images."


def guess_superset_kind(root: Path) -> Literal["labels", "masks", "objects", "captions", "questions"] | None:
    """Return what such files seem to be made for: the first of these that they hold.

    Raises:
        DataError: A file can't be read or isn't of the format.
    """
    with reading_once():
        keys = keys_of_superset(root)
        if "labels" in keys:
            return "labels"
        if "annotations" in keys:
            return "masks" if has_regions(root) else "objects"
    return "captions" if "captions" in keys else "questions" if "qa" in keys else None


def read_superset_labels(root: Path) -> Contents:
    """Read the labels of pictures; no picture is opened.

    Raises:
        DataError: A file can't be read or isn't of the format, or the labels of no picture are known; ``faults`` name
            what doesn't go together.
    """
    contents, splits = read_files(root, "labels")
    is_single = all(len(picture.annotations) == 1 for found in splits.values() for picture in found.pictures)
    for split, found in splits.items():
        contents.splits[split] = tuple(_label_record(picture, is_single) for picture in found.pictures)
    return contents


def _label_record(picture: Picture, is_single: bool) -> Record:
    names = tuple(dict.fromkeys(str(each["label"]) for each in picture.annotations))
    return Record(picture.path, {"label": names[0]} if is_single else {"labels": names}, picture.name)


def read_superset_masks(root: Path) -> Contents:
    """Read regions as masks; no picture is opened.

    Raises:
        DataError: As ``read_superset_labels``, or as ``coco.mask_contents``.
    """
    return mask_contents(root, *read_files(root, "annotations"))


def read_superset_objects(root: Path) -> Contents:
    """Read objects; no picture is opened.

    Raises:
        DataError: As ``read_superset_labels``, or as ``coco.object_contents``.
    """
    return object_contents(root, *read_files(root, "annotations"))


def read_superset_boxes(root: Path) -> Contents:
    """Read the boxes of labels; no picture is opened. Pictures whose labels have none are left out with a note.

    Raises:
        DataError: As ``read_superset_labels``.
    """
    contents, splits = read_files(root, "labels")
    names = {each["label"] for found in splits.values() for picture in found.pictures for each in picture.annotations}
    numbers = {name: number for number, name in enumerate(sorted(names))}
    boxed = {split: _label_boxes(found, numbers, contents) for split, found in splits.items()}
    if not any(found.pictures for found in boxed.values()) and not contents.faults:
        raise DataError(f"{root}: no label has a 'bbox', so it isn't known where things are.")
    return _without_empty(box_contents(contents, boxed))


def _label_boxes(found: CocoSplit, numbers: Mapping[str, int], contents: Contents) -> CocoSplit:
    """Return labels that have boxes as COCO's objects, without the pictures of which none has."""
    pictures, bare = [], 0
    for picture in found.pictures:
        objects: list[Mapping[str, Any]] = [
            {**each, "category_id": numbers[each["label"]]} for each in picture.annotations if "bbox" in each
        ]
        bare += not objects
        if objects:
            with contents.gathering():
                one_label(tuple(dict.fromkeys(each["label"] for each in picture.annotations)), picture.path)
                pictures.append(picture._replace(annotations=objects))
    if bare:
        contents.notes.append(f"{found.source}: {count_pictures(bare)} without a box, left out for boxes.")
    return found._replace(categories={number: name for name, number in numbers.items()}, pictures=pictures)


def read_superset_captions(root: Path) -> Contents:
    """Read captions; no picture is opened. Pictures that are left without any are left out with a note.

    Raises:
        DataError: As ``read_superset_labels``, or no picture has a caption or none exists.
    """
    contents, splits = read_files(root, "captions")
    images = CaptionedImages(root)
    for split, found in splits.items():
        for picture in found.pictures:
            captions = [
                Caption(each["caption"], f"{found.source.name}, caption {each.get('id')}")
                for each in picture.annotations
            ]
            images.add(split, picture.path, picture.name, captions, image_id=picture.image_id)
    return images.finish(contents, _HINT)


def read_superset_questions(root: Path) -> Contents:
    """Read questions and answers; no picture is opened. Pictures that nothing is asked about are left out.

    Raises:
        DataError: As ``read_superset_labels``; ``faults`` also name ids that are there twice.
    """
    contents, splits = read_files(root, "qa")
    asked = AskedPictures(contents)
    folder = superset_base(root)
    for split, found in splits.items():
        paths = {picture.image_id: picture.path for picture in found.pictures}
        _add_questions(split, found, asked)
        contents.splits[split] = asked.make_records(split, paths.__getitem__, folder, has_ids=True)
    records = [record for found in contents.splits.values() for record in found]
    if not records and not contents.faults:
        raise DataError(f"{root}: nothing is asked about any picture. {' '.join(contents.notes)}".rstrip())
    contents.faults += none_exists(records, root, _HINT)
    return _without_empty(contents)


def _add_questions(split: str, found: CocoSplit, asked: AskedPictures) -> None:
    empty, bare, twice = [], [], []
    seen: set[int | str] = set()
    for picture in found.pictures:
        for each in picture.annotations:
            number, answers = each["id"], tuple(each.get("answers", ()))
            if number in seen:
                twice.append(number)
            seen.add(number)
            types = (each.get("question_type", ""), each.get("answer_type", ""))
            if not asked.add(split, picture.image_id, Question(each["question"], answers, *types, number)):
                empty.append(f"question {number}")
            elif not any(answers):
                bare.append(f"question {number}")
    asked.contents.notes += [*note_empty(found.source, "question", empty), *note_unanswered(found.source, bare)]
    if twice:
        asked.contents.faults.append(
            f"{found.source}: the id of a question is there twice: {few(dict.fromkeys(twice))}."
        )


def _without_empty(contents: Contents) -> Contents:
    contents.splits = {split: records for split, records in contents.splits.items() if records}
    return contents
