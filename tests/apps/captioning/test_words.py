"""Words of captions: those of the COCO caption server's Java tokenizer, which are kept beside this file."""

import json
import unicodedata
from pathlib import Path

import pytest
from onetrunk.apps.captioning.words import caption_words

#: Captions with what the Java program makes of them; ``test_java_metrics.py`` checks that it does.
GOLDEN = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("text", "words"), GOLDEN)
def test_words_are_those_of_the_java_program(text: str, words: list[str]) -> None:
    assert caption_words(text) == words


def test_a_letter_in_two_parts_is_the_letter() -> None:
    text = "Ein Café über der Straße"
    assert caption_words(unicodedata.normalize("NFD", text)) == caption_words(text) == text.lower().split()


def test_letters_beyond_the_basic_plane_stay_and_pictures_go() -> None:
    assert caption_words("a \U00020000 dog \U0001f600") == ["a", "\U00020000", "dog"]


@pytest.mark.parametrize("text", ["", " ", " . ", "\n", "...", '"" ``', "\ufe0f", "\u200b"])
def test_text_without_words_has_none(text: str) -> None:
    assert caption_words(text) == []


@pytest.mark.parametrize("space", ["\n", "\t", "\r\n", "\u00a0", "\u3000", "   "])
def test_any_white_space_separates(space: str) -> None:
    assert caption_words(f"a{space}dog{space}") == ["a", "dog"]


def test_no_text_is_too_much() -> None:
    assert caption_words("don't-" * 500)[:3] == ["do", "n't", "do"]
    assert caption_words("'" * 2_000 + "-" * 2_000 + "." * 2_000) == []
