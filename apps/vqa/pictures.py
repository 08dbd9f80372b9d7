"""Pictures with questions and answers."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from PIL import Image, ImageDraw

from ..attention_pictures import Panel, attention_sheet, picture_part
from ..drawing import picture_font
from ..inputs import InputRecipe

#: The longer side of the picture, the size of the letters, how many go into a line, and the space around them.
_SIDE, _FONT_SIZE, _LETTERS, _MARGIN = 384, 14, 46, 8


def draw_answers(picture: Image.Image, answers: Sequence[Mapping[str, Any]], inputs: InputRecipe) -> Image.Image:
    """Return an RGB picture with what was asked and answered; one for each question where a head looked around.

    Args:
        picture: RGB.
        answers: At least one: ``question``, ``answer``, ``probability``, and perhaps ``attention`` over the canvas.
        inputs: How the picture came onto the canvas.
    """
    titles = [f"{each['question']} {each['answer']} ({each['probability']:.2f})" for each in answers]
    if "attention" not in answers[0]:
        return _with_text_below(picture, titles)
    size = (picture.height, picture.width)
    panels = [
        Panel(title, picture_part(each["attention"], inputs, size)) for title, each in zip(titles, answers, strict=True)
    ]
    return attention_sheet(picture, panels, heading="bright: where the answer was looked for")


def _with_text_below(picture: Image.Image, texts: Sequence[str]) -> Image.Image:
    """Return a picture, brought to one size, with lines of text below it."""
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    lines = [line for text in texts for line in wrap(text, _LETTERS)]
    step = round(1.3 * _FONT_SIZE)
    sheet = Image.new("RGB", (_SIDE, size[1] + 2 * _MARGIN + step * len(lines)), "white")
    sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), ((_SIDE - size[0]) // 2, 0))
    canvas = ImageDraw.Draw(sheet)
    font = picture_font(_FONT_SIZE)
    for place, line in enumerate(lines):
        canvas.text((_MARGIN, size[1] + _MARGIN + step * place), line, fill="black", font=font)
    return sheet
