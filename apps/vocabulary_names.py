"""The kinds of vocabularies; nothing heavy is imported here, options files read it."""

from typing import Literal

VocabularyName = Literal["words", "pieces"]
