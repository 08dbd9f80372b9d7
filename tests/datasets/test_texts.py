"""What becomes of a text when it is read."""

import json
from pathlib import Path

import pytest
from onetrunk.apps.vocabulary import learn_vocabulary
from onetrunk.datasets import clean_text, open_dataset


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A  cat\tsits.\n", "A cat sits."),
        ("cafe\u0301", "caf\u00e9"),
        ("a\x00b\u00a0c", "a b c"),
        ("\ud83d\udc15 runs", "\U0001f415 runs"),
        ("a \ud83d cat \udc15", "a \ufffd cat \ufffd"),
        ("\U0001f415", "\U0001f415"),
        (" \t ", ""),
    ],
)
def test_white_space_control_characters_and_halves_of_characters_are_put_in_order(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned
    assert clean_text(cleaned) == cleaned


def test_half_a_character_in_json_lines_can_be_learned(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "t.jsonl").write_text(json.dumps({"path": "1.jpg", "caption": "a dog \ud83d", "split": "train"}) + "\n")
    captions = open_dataset(tmp_path / "t.jsonl", "train", kind="captions").records[0].targets["captions"]
    assert captions == ("a dog \ufffd",)
    known = learn_vocabulary(captions, "pieces", size=300)
    assert known.decode(known.encode(captions, max_tokens=99).ids.tolist()) == list(captions)
