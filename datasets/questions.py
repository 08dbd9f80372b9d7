"""What is asked about a picture, and what people answered."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Question:
    """A question about a picture; a record has a tuple of them as its ``questions`` (``sample.py``).

    Attributes:
        text: The question as it was read, with white space put in order (``texts.py``).
        answers: What people answered: ten texts in VQA (Antol et al. 2015), one in most other data sets, none where the
            answer isn't known.
        question_type: How the question begins, as VQA sorts them, such as ``how many``; empty: not told.
        answer_type: ``yes/no``, ``number`` or ``other`` in VQA; empty: not told.
        number: What the data set's files call it (VQA's ``question_id``), where they do.
    """

    text: str
    answers: tuple[str, ...] = ()
    question_type: str = ""
    answer_type: str = ""
    number: int | str | None = None

    def identity(self) -> list[Any]:
        """Return what a fingerprint of the data is made of."""
        return [self.text, self.answers, self.question_type, self.answer_type, self.number]
