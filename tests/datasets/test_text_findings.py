"""What the doctor says of captions, questions and answers."""

import json
import re
import shutil

import pytest
from onetrunk.datasets import DataError, check_dataset
from onetrunk.datasets.text_findings import split_words


@pytest.fixture
def write(tmp_path, draw):
    """Writes rows as JSON lines, and the pictures they name."""

    def write(rows, name="table.jsonl"):
        for seed, picture in enumerate(sorted({row["path"] for row in rows})):
            if not picture.startswith("gone"):
                draw(tmp_path / picture, height=20, width=20, seed=seed)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


def _captions(count=4, **texts):
    """Rows of train and val with a caption of their own, but for pictures of which others are given."""
    names = [f"{index}.png" for index in range(count)]
    splits = {name: "val" if place % 4 == 3 else "train" for place, name in enumerate(names)}
    return [
        {"path": name, "split": splits[name], "captions": texts.get(f"p{place}", [f"Number {place} of them"])}
        for place, name in enumerate(names)
    ]


def _asked(path, split, *pairs):
    return [
        {
            "path": path,
            "split": split,
            "question": question,
            "answers": [answers] if isinstance(answers, str) else answers,
        }
        for question, answers in pairs
    ]


def _only(report, kind):
    (finding,) = [finding for finding in report.findings if finding.kind == kind]
    return finding


def _kinds(report, severity):
    return {finding.kind for finding in report.of(severity)}


def test_sound_captions_are_only_counted(write):
    report = check_dataset(write(_captions(p0=["A cat.", "The CAT isn't a dog"])))
    assert (report.kind, report.format, report.errors, report.warnings) == ("captions", "table", (), ())
    assert report.counts["texts"] == {
        "train": {"images": 3, "captions": 4, "words": 15, "distinct_words": 10, "words_each": 3.8},
        "val": {"images": 1, "captions": 1, "words": 4, "distinct_words": 4, "words_each": 4.0},
    }
    assert not {"classes", "splits"} & report.counts.keys()
    train = next(finding.message for finding in report.findings if finding.kind == "text_counts")
    assert train == "'train' has 3 images, 4 captions, 15 words (10 different, 3.8 a caption)."
    each = [finding.message for finding in report.findings if finding.kind == "captions_an_image"]
    assert each == [
        "Images of 'train' have 1 to 2 (median 1) captions each.",
        "Images of 'val' have 1 caption each.",
    ]


def test_captions_that_are_there_twice_for_an_image_are_named(write):
    finding = _only(check_dataset(write(_captions(p1=["A cat", "a  CAT", "A dog", "a cat"]))), "caption_repeated")
    assert finding.message == (
        "2 captions are there before for the same image, in 1 image, e.g. 'a CAT' of 1.png. They weigh double; keep "
        "one of each."
    )
    assert (finding.severity, finding.files) == ("warning", ("1.png",))


def test_what_is_said_of_very_many_images_is_a_warning(write):
    rows = _captions(16, **{f"p{place}": ["Stock photo", f"Number {place}"] for place in range(10)})
    finding = _only(check_dataset(write(rows)), "caption_of_many_images")
    assert finding.message.startswith(
        "10 of 16 images (62%) have the caption 'Stock photo', e.g. 0.png. If it says noth"
    )
    assert finding.files == tuple(f"{place}.png" for place in (0, 1, 2, 4, 5, 6, 8, 9, 3, 7))
    rows = _captions(16, **{f"p{place}": ["Stock photo"] for place in range(9)})
    assert "caption_of_many_images" not in _kinds(check_dataset(write(rows)), "warning")


def test_very_long_captions_are_named_and_stay(write):
    report = check_dataset(write(_captions(p0=["word " * 100], p1=["word " * 101], p2=["word " * 300])))
    finding = _only(report, "text_long")
    assert finding.message.startswith("2 captions have more than 100 words, the longest 300: 'word word ")
    assert finding.files == ("1.png", "2.png")
    assert report.counts["texts"]["train"]["captions"] == 3


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("a caf\ufffd", "text_undecodable", "1 caption has a character that couldn't be decoded"),
        ("a caf\u00c3\u00a9", "text_misread", "looks? like UTF-8 read as Latin-1, e.g. 'a caf\u00c3\u00a9' of 2.png"),
        ("the dog\u00e2\u20ac\u2122s", "text_misread", "write it anew in UTF-8"),
        ("a cat &amp; a dog", "text_markup", "an HTML entity or tag, e.g. 'a cat &amp; a dog' of 2.png"),
        ("it&#39;s", "text_markup", "learned as it stands"),
        ("one<br/>two", "text_markup", "an HTML entity or tag"),
        (" . ", "text_without_words", "1 caption has no letter or digit, e.g. '.' of 2.png"),
    ],
)
def test_damaged_captions_are_named(write, text, kind, words):
    report = check_dataset(write(_captions(p2=[text, "A sound one"])))
    finding = _only(report, kind)
    assert re.search(words, finding.message)
    assert (finding.files, _kinds(report, "warning")) == (("2.png",), {kind})


@pytest.mark.parametrize(
    "text", ["caf\u00e9, \u00c2ngela & S\u00c3O", "AT&T; 3 < 5 > 1", "\u732b\u304c\u3044\u308b", "it's 5"]
)
def test_accents_and_signs_are_no_damage(write, text):
    assert not check_dataset(write(_captions(p2=[text]))).warnings


def test_empty_captions_and_missing_pictures_are_reported(write):
    rows = [*_captions(p1=["a", ""]), {"path": "gone.png", "split": "train", "captions": ["x"]}]
    report = check_dataset(write(rows))
    (error,) = report.errors
    assert (error.kind, error.files) == ("unreadable", ("gone.png",))
    assert "1 empty caption was left out: row 2 (1.png)." in _only(report, "note").message


def test_faulty_rows_are_errors_and_the_others_are_looked_at(write):
    path = write(_captions())
    path.write_text(path.read_text() + "no json\n")
    report = check_dataset(path)
    assert "row 5: this is no JSON object" in report.errors[0].message
    assert report.counts["images"] == 4


def test_copies_of_a_picture_with_other_captions_are_no_conflict(write):
    path = write(_captions())
    shutil.copy(path.with_name("0.png"), path.with_name("1.png"))
    assert _kinds(check_dataset(path), "warning") == {"duplicates_in_a_split"}


def test_sound_questions_are_only_counted(write):
    rows = _asked("0.png", "train", ("What is it?", "cat"), ("Is it red?", ["yes", "no", "yes"]), ("How many?", "2"))
    rows += _asked("1.png", "val", ("What is it now?", "cat"))
    report = check_dataset(write(rows))
    assert (report.kind, report.errors, report.warnings) == ("questions", (), ())
    assert report.counts["texts"]["train"] == {
        "images": 1,
        "questions": 3,
        "words": 8,
        "distinct_words": 6,
        "words_each": 2.7,
        "answered": 3,
        "distinct_answers": 4,
    }
    guess = _only(report, "answer_guess")
    assert (guess.severity, guess.message) == (
        "info",
        "'cat' is the most frequent answer in 'train'; whoever always gives it is right on 33% of 'train', 100% of "
        "'val'. Compare figures with that.",
    )
    counts = next(finding.message for finding in report.findings if finding.kind == "text_counts")
    assert counts.endswith("8 words (6 different, 2.7 a question); 3 answered, with 4 different answers.")


def test_an_answer_to_most_questions_is_a_warning(write):
    rows = _asked("0.png", "train", ("Is it red?", "Yes"), ("Is it big?", "yes"), ("What is it?", "cat"))
    finding = _only(check_dataset(write([*rows, *_asked("1.png", "val", ("Red?", "no"))])), "answer_dominates")
    assert finding.severity == "warning"
    assert "'yes' is the most frequent answer in 'train'; whoever always gives it is right on 67% of" in finding.message


def test_questions_that_can_not_be_learned_or_measured_are_named(write):
    rows = _asked("0.png", "train", ("What is it?", "cat"), ("And that?", []), ("Which?", "dog"), ("Why?", "rain"))
    rows += _asked("1.png", "val", ("What is it?", "eel"), ("Which one?", "Cat"))
    rows += _asked("2.png", "test", ("What is it?", []))
    report = check_dataset(write(rows))
    bare = _only(report, "question_without_answer")
    assert bare.message.startswith("1 of 4 questions in 'train' has no answer, e.g. 'And that?' of 0.png.")
    assert bare.files == ("0.png",)
    unknown = _only(report, "answer_not_in_train")
    assert unknown.message == (
        "1 of 2 questions in 'val' (50.0%) has an answer that none in 'train' has, and can't be answered right by a "
        "model that chooses among those, e.g. 'What is it?' of 1.png: 'eel'."
    )
    assert (unknown.severity, unknown.files) == ("warning", ("1.png",))
    whole = _only(report, "split_without_answers")
    assert whole.severity == "info", "answers of tests are often kept back"
    assert whole.message.startswith("No question of 'test' has an answer")


def test_a_few_unknown_answers_are_no_warning(write):
    rows = _asked("0.png", "train", ("A?", "a"), ("B?", "b"), ("C?", "c"))
    rows += _asked("1.png", "val", *((f"Question {number}?", "abc"[number % 3]) for number in range(30)), ("Z?", "z"))
    assert _only(check_dataset(write(rows)), "answer_not_in_train").severity == "info"


def test_ways_to_write_an_answer_are_told(write):
    rows = _asked(
        "0.png", "train", ("A?", "T-shirt"), ("B?", "t shirt"), ("C?", "T-shirt"), ("D?", "red"), ("E?", "Red")
    )
    rows += _asked("1.png", "val", ("A?", "t shirt"))
    finding = _only(check_dataset(write(rows)), "answer_variants")
    assert "2 answers are written in ways that differ only in case" in finding.message
    assert "'T-shirt' (2) = 't shirt' (2); 'red' (1) = 'Red' (1)." in finding.message


def test_questions_asked_twice_and_damaged_answers_are_named(write):
    rows = _asked("0.png", "train", ("What is it?", "a &quot;cat&quot;"), ("what is it?", "dog"), ("Why?", "x"))
    report = check_dataset(write([*rows, *_asked("1.png", "val", ("Which?", "x"))]))
    assert "1 question is there before for the same image, in 1 image" in _only(report, "question_repeated").message
    assert "1 answer has an HTML entity or tag" in _only(report, "text_markup").message


def test_data_without_a_kind_of_text_is_refused(write):
    with pytest.raises(DataError, match="the column 'question' is missing"):
        check_dataset(write(_captions()), kind="questions")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog's 2 balls , big_ones!", ["a", "dog's", "2", "balls", "big_ones"]),
        ("Zo\u00eb\u2019s stra\u00dfe", ["zo\u00eb\u2019s", "stra\u00dfe"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 x", ["\u0939\u093f\u0928\u094d\u0926\u0940", "x"]),
        ("\u732b\u3068 cat", ["\u732b", "\u3068", "cat"]),
        (" .,;'", []),
    ],
)
def test_words_are_runs_of_letters_and_digits(text, words):
    assert split_words(text) == words
