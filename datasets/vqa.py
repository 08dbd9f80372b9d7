"""The JSON files of VQA, first and second release (Antol et al. 2015, Goyal et al. 2017).

::

    vqa/v2_OpenEnded_mscoco_train2014_questions.json      questions, with the ids of COCO's pictures
    vqa/v2_mscoco_train2014_annotations.json              their answers, ten each; those of test aren't published
    vqa/train2014/COCO_train2014_000000000009.jpg         pictures, in any folder below

The first release lacks the ``v2_``; abstract scenes have ``abstract_v002`` for ``mscoco``. The files may also lie in
folders named after them, as ``Questions`` and ``Annotations`` or ``v2_Questions_Train_mscoco``. The split stands in
their names. A picture has any name that ends in its number; where several do, the usual one counts. Multiple-choice
files are passed over.

A question keeps all its answers, in their order, for the consensus that figures are made of. Where an annotation has no
list of answers, its ``multiple_choice_answer`` is the one answer.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .asked_pictures import AskedPictures, Picture, few, find_shared, keep_with_pictures, note_unanswered
from .contents import Contents
from .numbered_pictures import NumberedPictures
from .questions import Question
from .sample import DataError
from .splits import SPLITS, find_split_in
from .texts import note_empty

_QUESTIONS = re.compile(r"(v2_)?(OpenEnded|MultipleChoice)_(.+)_questions\.json")

_FOLDERS = ("question", "annotation")
"""What is in the name of a folder that files may lie in, as in ``v2_Questions_Train_mscoco``."""


class _Source(NamedTuple):
    path: Path
    release: str
    """``v2_``, or the empty text of the first."""
    subset: str
    """The pictures, as in ``mscoco_train2014``."""

    @property
    def annotations(self) -> str:
        """The name of the file with the answers."""
        return f"{self.release}{self.subset}_annotations.json"


def holds_vqa(root: Path) -> bool:
    """Whether a folder has a file of VQA's questions, in itself or in a folder for them."""
    return any(_QUESTIONS.fullmatch(path.name) for path in _json_files(root))


def read_vqa(root: Path) -> Contents:
    """Read VQA's questions; no picture is opened.

    Args:
        root: The folder; or one file of questions, whose pictures are then in no split.

    Returns:
        What it holds. Its ``faults`` name the file and the questions: a question or annotation that lacks something,
        an id that is there twice, annotations of other questions, a picture in two splits.

    Raises:
        DataError: A file can't be read, two files are for one split, both releases are there, there are no open-ended
            questions or no pictures.
    """
    folder = root
    if root.is_file():
        folder = root.parent.parent if _is_for_files(root.parent) else root.parent
    contents = Contents({})
    asked = AskedPictures(contents)
    files = _json_files(folder)
    sources = _pick_file(root) if root.is_file() else _pick_sources(root, files, contents)
    by_name = {path.name: path for path in reversed(files)}
    for split, source in sources.items():
        _read_source(source, split, by_name.get(source.annotations), asked)
    _add_records(folder, sources, asked)
    contents.faults += find_shared(folder, contents.splits)
    keep_with_pictures(
        contents, folder, what="VQA", hint="COCO's folders train2014, val2014 and test2015 go beside the questions."
    )
    return contents


def _json_files(root: Path) -> list[Path]:
    """Return the JSON files of a folder, and then those of folders in it that are named after questions or answers.

    Others aren't looked into: the folder that several data sets are in isn't one.
    """
    folders = [path for path in sorted(root.glob("*/")) if _is_for_files(path)]
    return [path for folder in (root, *folders) for path in sorted(folder.glob("*.json"))]


def _is_for_files(folder: Path) -> bool:
    return any(word in folder.name.lower() for word in _FOLDERS)


def _pick_file(path: Path) -> dict[str, _Source]:
    match = _QUESTIONS.fullmatch(path.name)
    if match is None or match[2] != "OpenEnded":
        raise DataError(
            f"{path}: this isn't named like a file of VQA's open-ended questions, such as "
            "v2_OpenEnded_mscoco_train2014_questions.json. Give that, or the folder it is in."
        )
    return {"": _Source(path, match[1] or "", match[3])}


def _pick_sources(root: Path, files: Iterable[Path], contents: Contents) -> dict[str, _Source]:
    """Return which file of questions is read for each split."""
    found = [(path, match) for path in files if (match := _QUESTIONS.fullmatch(path.name))]
    sources = [_Source(path, match[1] or "", match[3]) for path, match in found if match[2] == "OpenEnded"]
    if not sources:
        raise DataError(
            f"{root}: no open-ended questions, but those of a choice: {few(path.name for path, _ in found)}. Add "
            "OpenEnded_mscoco_train2014_questions.json."
        )
    _check_releases(root, sources)
    by_split: dict[str, list[_Source]] = defaultdict(list)
    for source in sources:
        by_split[find_split_in(source.subset) or ""].append(source)
    if len(by_split) > 1:
        by_split.pop("", None)
    picked = {split: _pick_one(by_split[split], split, root) for split in ("", *SPLITS) if split in by_split}
    read = {source.path for source in picked.values()}
    if unread := [path.name for path, _ in found if path not in read]:
        contents.notes.append(f"{root}: not read: {few(unread)}. One file of open-ended questions a split is.")
    return picked


def _check_releases(root: Path, sources: Sequence[_Source]) -> None:
    releases = {source.release: source.path.name for source in sources}
    if len(releases) > 1:
        raise DataError(
            f"{root}: questions of both releases of VQA, {releases['']} and {releases['v2_']}. They ask about the same "
            "pictures; move the files of one elsewhere."
        )


def _pick_one(sources: Sequence[_Source], split: str, root: Path) -> _Source:
    """Return the one file of a split; test-dev is a part of test."""
    whole = [source for source in sources if "test-dev" not in source.subset] or list(sources)
    if len(whole) > 1:
        what = f"are for the split '{split}'" if split else "name no split"
        names = few(source.path.relative_to(root) for source in whole)
        raise DataError(f"{root}: {len(whole)} files of questions {what}: {names}. Keep one.")
    return whole[0]


class _Answered(NamedTuple):
    image: int | None
    answers: tuple[str, ...]
    question_type: str
    answer_type: str


_UNANSWERED = _Answered(None, (), "", "")


def _read_source(source: _Source, split: str, annotations: Path | None, asked: AskedPictures) -> None:
    """Put the questions of a file to their pictures."""
    path, contents = source.path, asked.contents
    answered = {} if annotations is None else _read_annotations(annotations, asked)
    empty, twice, bare, moved = [], [], [], []
    seen: set[int | str] = set()
    for place, each in enumerate(_load(path, "questions"), start=1):
        try:
            number, image, text = _number(each["question_id"]), int(each["image_id"]), each["question"]
            if not isinstance(text, str):
                raise TypeError
        except (KeyError, TypeError, ValueError, AttributeError):
            contents.faults.append(
                _misfit(path, "question", place, each, "a question_id, an image_id, a number, and a")
            )
            continue
        if number in seen:
            twice.append(number)
            continue
        seen.add(number)
        one = answered.get(number, _UNANSWERED)
        if one.image not in (None, image):
            moved.append(number)
        elif not asked.add(split, image, Question(text, one.answers, one.question_type, one.answer_type, number)):
            empty.append(f"question_id {number}")
        elif not any(one.answers):
            bare.append(f"question_id {number}")
    if not seen and not contents.faults:
        raise DataError(f"{path}: the list of questions is empty.")
    contents.notes += note_empty(path, "question", empty)
    _add_faults(path, annotations, contents, {"twice": twice, "moved": moved, "others": [*answered.keys() - seen]})
    _note_unanswered(source, annotations, bare, contents)


def _note_unanswered(source: _Source, annotations: Path | None, bare: Sequence[str], contents: Contents) -> None:
    if annotations is None:
        contents.notes.append(
            f"{source.path}: there is no {source.annotations}, so the answers aren't known; they can be predicted, but "
            "neither learned nor measured."
        )
    else:
        contents.notes += note_unanswered(annotations, bare)


def _add_faults(path: Path, annotations: Path | None, contents: Contents, found: Mapping[str, list[int | str]]) -> None:
    """Add a fault for each thing that is wrong with any number of questions."""
    if found["twice"]:
        contents.faults.append(
            f"{path}: the id of a question is there twice: question_id {few(dict.fromkeys(found['twice']))}."
        )
    if found["moved"]:
        contents.faults.append(
            f"{annotations}: annotations are of other pictures than their questions in {path.name}: question_id "
            f"{few(found['moved'])}. Are they of one release?"
        )
    if found["others"]:
        contents.faults.append(
            f"{annotations}: {len(found['others']):,} annotations are of questions that aren't in {path.name}: "
            f"question_id {few(sorted(found['others'], key=str))}. Are they of one release?"
        )


def _read_annotations(path: Path, asked: AskedPictures) -> dict[int | str, _Answered]:
    """Return what is known of each question by its id."""

    def take_text(found: dict[str, Any]) -> Any:
        # of the millions of answers only their texts, while the file is read, or they would fill the memory
        return asked.clean(str(found["answer"])) if "answer" in found and "question_id" not in found else found

    found: dict[int | str, _Answered] = {}
    twice = []
    for place, each in enumerate(_load(path, "annotations", take_text), start=1):
        try:
            number, answers = _number(each["question_id"]), _answers_of(each)
            image = int(each["image_id"]) if "image_id" in each else None
        except (KeyError, TypeError, ValueError, AttributeError):
            asked.contents.faults.append(
                _misfit(path, "annotation", place, each, "a question_id and a list 'answers' of")
            )
            continue
        if number in found:
            twice.append(number)
        found[number] = _Answered(
            image, answers, str(each.get("question_type") or ""), str(each.get("answer_type") or "")
        )
    if twice:
        asked.contents.faults.append(
            f"{path}: a question has two annotations: question_id {few(dict.fromkeys(twice))}."
        )
    return found


def _answers_of(annotation: Mapping[str, Any]) -> tuple[str, ...]:
    answers = annotation.get("answers") or []
    if not isinstance(answers, list) or not all([isinstance(answer, str) for answer in answers]):
        raise TypeError
    if not answers and annotation.get("multiple_choice_answer"):
        return (str(annotation["multiple_choice_answer"]),)
    return tuple(answers)


def _misfit(path: Path, what: str, place: int, each: Any, needed: str) -> str:
    """Return what is wrong with something that isn't what it should be."""
    number = each.get("question_id") if isinstance(each, dict) else None
    named = f"{what} {place} of the list" if number is None else f"the {what} of question_id {number}"
    kind = {"question": "question", "annotation": "objects with an 'answer'"}[what]
    has = f"it has {', '.join(map(str, each)) or 'nothing'}" if isinstance(each, dict) else "it is no object"
    return f"{path}: {named}: it needs {needed} {kind}; {has}."


def _number(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return value


def _load(path: Path, key: str, take: Callable[[dict[str, Any]], Any] | None = None) -> list[Any]:
    """Return a list that a JSON file holds under a key, what ``take`` makes of each object in it."""
    try:
        plain = json.loads(path.read_bytes(), object_hook=take)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: this can't be read as JSON ({error}). Is it cut off?") from error
    found = plain.get(key) if isinstance(plain, dict) else None
    if not isinstance(found, list):
        has = ", ".join(map(str, list(plain)[:8])) or "nothing" if isinstance(plain, dict) else "no object"
        raise DataError(f"{path}: there is no list '{key}' in it, as VQA's files have; it holds {has}.")
    return found


def _add_records(root: Path, sources: Mapping[str, _Source], asked: AskedPictures) -> None:
    """Find the pictures and make the records of each split."""
    pictures = NumberedPictures(root)
    for split, source in sources.items():
        locate = _locator(source, split, pictures)
        asked.contents.splits[split] = asked.make_records(split, locate, root, has_ids=True)
    asked.contents.faults += pictures.find_faults()


def _locator(source: _Source, split: str, pictures: NumberedPictures) -> Callable[[Picture], Path]:
    """Return what says where the picture of a number is, or else where it is usually."""
    kind, _, subset = source.subset.rpartition("_")
    folder = subset.replace("test-dev", "test")  # which is a part of its questions, not of its pictures
    prefix = {"mscoco": f"COCO_{folder}_", "": ""}.get(kind, f"{kind}_{folder}_")
    ending = ".png" if kind.startswith("abstract") else ".jpg"
    homes = [pictures.root / "images" / folder, pictures.root / folder]
    home = next((each for each in homes if each.is_dir()), homes[-1])

    def locate(number: Picture) -> Path:
        stem = f"{prefix}{number:012}"
        return pictures.find(int(number), stem=stem, folder=folder, split=split) or home / (stem + ending)

    return locate
