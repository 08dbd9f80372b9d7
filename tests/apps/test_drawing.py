"""Boxes and words in pictures."""

import numpy as np
import pytest
from onetrunk.apps.drawing import Mark, draw, picture_font
from PIL import Image


def test_words_of_boxes_that_lie_close_do_not_hide_each_other() -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    marks = [
        Mark({"xmin": 100 + 16 * place, "ymin": 100, "xmax": 112 + 16 * place, "ymax": 160}, "word 0.50", color)
        for place, color in enumerate(colors)
    ]
    alone = [np.asarray(draw(Image.new("RGB", (300, 300)), [mark])) for mark in marks]
    together = np.asarray(draw(Image.new("RGB", (300, 300)), marks))
    for color, one in zip(colors, alone, strict=True):
        inside = [int((picture == color).all(axis=2).sum()) for picture in (one, together)]
        # of lines something is covered, of words nothing
        assert inside[1] > 0.7 * inside[0], color


def test_words_that_have_no_room_elsewhere_stand_on_top_of_each_other_the_surest_above() -> None:
    marks = [
        Mark({"xmin": 0, "ymin": 0, "xmax": 40, "ymax": 10}, f"{place}", (255, 200 - place, 0)) for place in range(9)
    ]
    drawn = np.asarray(draw(Image.new("RGB", (40, 10)), marks))
    assert (drawn == (255, 200, 0)).all(axis=2).sum() > 50


@pytest.mark.parametrize("letters", ["é", "ß", "Ж", "λ"])
def test_words_are_not_only_english(letters: str) -> None:
    font = picture_font(20)
    unknown = font.getmask("\U0010ffff")
    assert bytes(font.getmask(letters)) != bytes(unknown)
