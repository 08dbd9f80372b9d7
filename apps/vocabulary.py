"""Text to numbers and back: words, pieces of words, or the tokens of a pretrained language model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from ..datasets import DataError
from .vocabulary_names import VocabularyName

PAD, START, END, UNKNOWN = _SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")

#: Texts that are encoded together. The library keeps about two kilobytes of each until all of them are done, which is
#: more than a gigabyte for the captions of COCO.
_AT_ONCE = 10_000

#: Letters and digits with apostrophes between them; of scripts that put no space between words, each character.
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{M}\p{N}]+(?:['\u2019][\p{L}\p{M}]+)*"


@dataclass(frozen=True)
class Tokens:
    """Texts as numbers.

    Attributes:
        ids: int64 ``[N, L]``: the start, the tokens, the end, then padding.
        lengths: int64 ``[N]``: how many of them are no padding.
        is_cut: bool ``[N]``: which texts were longer than asked for.
    """

    ids: Tensor
    lengths: Tensor
    is_cut: Tensor


class Vocabulary:
    """The tokens of a text model.

    The rule for words: lower case, Unicode's form NFC, letters and digits count and punctuation doesn't; words that are
    too rare are unknown, and are neither learned nor ever said. Pieces are byte-level (Radford 2019), so that any text
    has some and comes back as it was.

    Args:
        tokenizer: Of the ``tokenizers`` library.
        kind: ``words``, ``pieces`` or ``language_model``.
        start: The number of the token before each text.
        end: Of the one behind it.
        pad: Of what fills up shorter texts.
        unknown: Of what stands for unknown words, where there is such.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, kind: str, start: int, end: int, pad: int, unknown: int | None = None
    ) -> None:
        """See the class."""
        self.tokenizer = tokenizer
        # what looks like a special token in someone's text is text
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.kind = kind
        self.start, self.end, self.pad, self.unknown = start, end, pad, unknown

    def __len__(self) -> int:
        """Return the number of tokens."""
        return int(self.tokenizer.get_vocab_size())

    @cached_property
    def unsaid(self) -> tuple[int, ...]:
        """The tokens that must never be generated: those that stand for no text, but for the end."""
        special = {number for number, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        special |= {self.start, self.pad} | ({self.unknown} if self.unknown is not None else set())
        return tuple(sorted(special - {self.end}))

    @cached_property
    def blank(self) -> tuple[int, ...]:
        """The tokens of white space alone, with which no text may begin: nothing might follow."""
        if self.kind == "words":
            return ()
        tokens = [[number] for number in range(len(self))]
        texts = self.tokenizer.decode_batch(tokens, skip_special_tokens=False)
        return tuple(number for number, text in enumerate(texts) if not text.strip())

    def encode(self, texts: Sequence[str], *, max_tokens: int) -> Tokens:
        """Return texts as numbers, each cut to ``max_tokens`` tokens between start and end."""
        parts = (self._numbers(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE))
        found = [ids for part in parts for ids in part]
        rows = [[self.start, *ids[:max_tokens], self.end] for ids in found]
        longest = max(map(len, rows), default=0)
        return Tokens(
            torch.tensor([row + [self.pad] * (longest - len(row)) for row in rows], dtype=torch.int64).reshape(
                len(rows), longest
            ),
            torch.tensor([len(row) for row in rows], dtype=torch.int64),
            torch.tensor([len(ids) > max_tokens for ids in found], dtype=torch.bool),
        )

    def _numbers(self, texts: Sequence[str]) -> list[list[int]]:
        return [each.ids for each in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """Return the texts of tokens, up to the first end and without anything that stands for no text."""
        return [self._decode(self.spoken(each)) for each in ids]

    def spoken(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens of a text up to the first end, without start, padding and what stands for no text."""
        tokens = list(ids)
        if tokens and tokens[0] == self.start:
            tokens = tokens[1:]  # where start and end are the same token, as GPT-2 has it
        tokens = tokens[: tokens.index(self.end)] if self.end in tokens else tokens
        unsaid = set(self.unsaid)
        return [token for token in tokens if token not in unsaid]

    def words(self, ids: Sequence[int]) -> list[tuple[str, range]]:
        """Return the words of ``spoken`` tokens, each with the places of its tokens."""
        starts = [place for place, token in enumerate(ids) if place == 0 or self._opens_word(token)]
        places = [range(start, end) for start, end in pairwise([*starts, len(ids)])]
        return [(self._decode(ids[each.start : each.stop]), each) for each in places]

    def _opens_word(self, token: int) -> bool:
        """Whether a token begins a word: byte-level and SentencePiece tokens that do begin with a space."""
        return self.kind == "words" or str(self.tokenizer.id_to_token(token)).startswith(("\u0120", "\u2581", " "))

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the model file."""
        return {
            "kind": self.kind,
            "start": self.start,
            "end": self.end,
            "pad": self.pad,
            "unknown": self.unknown,
            "tokenizer": self.tokenizer.to_str(),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Vocabulary":
        """Return the vocabulary that a model file holds."""
        others = {key: value for key, value in plain.items() if key != "tokenizer"}
        return cls(Tokenizer.from_str(plain["tokenizer"]), **others)


def learn_vocabulary(texts: Sequence[str], name: VocabularyName, *, min_count: int = 1, size: int = 8000) -> Vocabulary:
    """Return the vocabulary of texts.

    Args:
        texts: What is trained on.
        name: ``words``, or ``pieces`` of them.
        min_count: For ``words``: how often one has to occur.
        size: How many tokens there are at most.

    Raises:
        DataError: If nothing is left.
    """
    if name == "words":
        tokenizer = Tokenizer(models.WordLevel({}, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
        trainer: Any = trainers.WordLevelTrainer(
            vocab_size=size, min_frequency=min_count, special_tokens=list(_SPECIAL), show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=list(_SPECIAL[:3]),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(texts, trainer)
    if name == "words" and tokenizer.get_vocab_size() == len(_SPECIAL):
        raise DataError(
            f"None of the {len(texts):,} texts has a word that occurs {min_count} times. Lower the floor, or take "
            "pieces of words."
        )
    number: Any = tokenizer.token_to_id
    return Vocabulary(
        tokenizer, kind=name, start=number(START), end=number(END), pad=number(PAD), unknown=number(UNKNOWN)
    )
