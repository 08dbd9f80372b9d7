"""Text to numbers and back."""

import json
import os
import subprocess
import sys

import pytest
import torch
from onetrunk.apps.vocabulary import PAD, START, Vocabulary, learn_vocabulary
from onetrunk.datasets import DataError

TEXTS = [
    "A red disc.",
    "A RED square, two discs",
    "the man's red hat",
    "caf\u00e9 cafe\u0301",
    "\u72ac\u304c\u8d70\u308b",
]
ODD = ["", "  two  spaces", "Gr\u00fcn \U0001f415!", "<end> of <pad>", "tab\tand\nline"]

_LEARN = """
import hashlib, random
from onetrunk.apps.vocabulary import learn_vocabulary
chance = random.Random(0)
words = ["".join(chance.choices("abcdefghij", k=chance.randint(2, 5))) for _ in range(300)]
texts = [" ".join(chance.choices(words, k=8)) for _ in range(400)]
for name, size in (("words", 200), ("pieces", 500)):
    learned = learn_vocabulary(texts, name, min_count=2, size=size)
    print(name, len(learned), hashlib.sha256(str(learned.to_dict()).encode()).hexdigest())
"""


def words(**options: int) -> Vocabulary:
    return learn_vocabulary(TEXTS, "words", **options)


def pieces() -> Vocabulary:
    return learn_vocabulary(TEXTS, "pieces", size=300)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A red disc.", "a red disc"),
        ("the man's RED hat!", "the man's red hat"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u72ac\u304c", "\u72ac \u304c"),
        ("a <pad> red <start>", "a red"),
        ("a zebra", "a"),
        ("", ""),
    ],
)
def test_words_come_back_in_lower_case_without_punctuation(text: str, said: str) -> None:
    known = words()
    assert known.decode(known.encode([text], max_tokens=20).ids.tolist()) == [said]


def test_pieces_give_any_text_back() -> None:
    known = pieces()
    for text in (*TEXTS[:3], *ODD, "caf\u00e9"):
        assert known.decode(known.encode([text], max_tokens=99).ids.tolist()) == [text.strip()]


def test_texts_stand_between_start_and_end_and_are_padded_and_cut() -> None:
    known = words()
    tokens = known.encode(["red", "a red disc", "a a a a a"], max_tokens=4)
    assert tokens.lengths.tolist() == [3, 5, 6]
    assert tokens.is_cut.sum() == 1
    assert tokens.ids.shape == (3, 6)
    assert tokens.ids[:, 0].tolist() == [known.start] * 3
    assert tokens.ids[0].tolist()[2:] == [known.end, known.pad, known.pad, known.pad]
    assert tokens.ids[2, -1].item() == known.end
    none = known.encode([], max_tokens=4)
    assert none.ids.shape == (0, 0)
    assert none.ids.dtype == none.lengths.dtype == torch.int64


def test_many_texts_are_encoded_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    known = words()
    texts = ["red", "a red disc", "", "two discs", "hat"]
    whole = known.encode(texts, max_tokens=2)
    monkeypatch.setattr("onetrunk.apps.vocabulary._AT_ONCE", 2)
    parts = known.encode(texts, max_tokens=2)
    assert torch.equal(parts.ids, whole.ids)
    assert torch.equal(parts.lengths, whole.lengths)
    assert parts.is_cut.tolist() == whole.is_cut.tolist()
    assert parts.is_cut.sum() == 1


def test_rare_words_are_unknown_and_never_said() -> None:
    known = words(min_count=3)
    assert known.unknown in known.encode(["a hat"], max_tokens=9).ids[0].tolist()
    assert known.decode(known.encode(["red hat red"], max_tokens=9).ids.tolist()) == ["red red"]
    assert set(known.unsaid) == {known.pad, known.start, known.unknown}


def test_size_keeps_the_most_frequent() -> None:
    known = words(size=5)
    assert len(known) == 5
    assert known.decode(known.encode(["a red hat"], max_tokens=9).ids.tolist()) == ["red"]


def test_a_text_ends_at_its_first_end() -> None:
    known = words()
    red, disc = known.encode(["red disc"], max_tokens=9).ids[0, 1:3].tolist()
    assert known.spoken([known.start, red, known.pad, known.end, disc]) == [red]
    assert known.decode([[red, disc], [known.end, red], []]) == ["red disc", "", ""]


def test_words_know_their_tokens() -> None:
    known = pieces()
    spoken = known.spoken(known.encode(["Two discs, caf\u00e9 hat"], max_tokens=99).ids[0].tolist())
    found = known.words(spoken)
    assert [word for word, _ in found] == ["Two", "discs,", "caf\u00e9", "hat"]
    assert [place for _, places in found for place in places] == list(range(len(spoken)))
    assert known.words([]) == []
    assert [word for word, _ in words().words(words().encode(["a red disc"], max_tokens=9).ids[0, 1:4].tolist())] == [
        "a",
        "red",
        "disc",
    ]


def test_blank_tokens_say_nothing_by_themselves() -> None:
    assert words().blank == ()
    known = pieces()
    assert known.blank
    assert all(not text for text in known.decode([[token] for token in known.blank]))
    assert not set(known.blank) & set(known.encode(["a red disc"], max_tokens=9).ids[0, 1:2].tolist())


@pytest.mark.parametrize("name", ["words", "pieces"])
def test_a_model_file_keeps_it(name: str) -> None:
    known = learn_vocabulary(TEXTS, name, size=300)
    again = Vocabulary.from_dict(json.loads(json.dumps(known.to_dict())))
    assert again.to_dict() == known.to_dict()
    assert again.unsaid == known.unsaid
    texts = TEXTS + ODD
    assert torch.equal(again.encode(texts, max_tokens=9).ids, known.encode(texts, max_tokens=9).ids)


def test_special_tokens_are_those_of_the_names() -> None:
    known = words()
    assert known.tokenizer.token_to_id(START) == known.start
    assert known.tokenizer.token_to_id(PAD) == known.pad


def test_every_process_learns_the_same() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _LEARN],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "TOKENIZERS_PARALLELISM": parallel},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed, parallel in ((1, "true"), (2, "false"))
    }
    assert len(outputs) == 1
    assert outputs.pop().startswith("words 200 ")


def test_texts_without_words() -> None:
    with pytest.raises(
        DataError, match=r"None of the 2 texts has a word that occurs 2 times. Lower the floor, or take"
    ):
        learn_vocabulary(["one two", "?!"], "words", min_count=2)
