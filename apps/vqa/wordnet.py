"""How near nouns are in WordNet (Fellbaum 1998), as NLTK reads its files and compares senses."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

from ...backbones.errors import UserError

#: Where WordNet lies in NLTK's folders; NLTK's downloader leaves it packed.
_PLACES = ("corpora/wordnet", "corpora/wordnet.zip/wordnet/", "corpora/wordnet31", "corpora/wordnet31.zip/wordnet31/")
_HOW = "Fetch WordNet with 'python -m nltk.downloader wordnet', and name the folder above 'corpora' in NLTK_DATA."


class WordNet:
    """WordNet's nouns.

    Args:
        reader: NLTK's ``WordNetCorpusReader``.
        place: Where its files lie, for messages.
    """

    def __init__(self, reader: Any, place: str) -> None:
        """See the class."""
        self.reader = reader
        self.place = place

    def similarity(self, first: str, second: str) -> float:
        """Return how near two nouns are: Wu and Palmer's (1994) similarity of their nearest senses, 0 to 1.

        0 if WordNet doesn't know one of them. Plurals are looked up as singulars, words may have spaces between them.

        Raises:
            UserError: If the files are damaged.
        """
        with _reading(self.place):
            ours, theirs = (self.reader.synsets(noun.replace(" ", "_"), "n") for noun in (first, second))
            # None for senses that nothing is above
            return max((one.wup_similarity(other) or 0.0 for one in ours for other in theirs), default=0.0)


def read_wordnet() -> WordNet:
    """Return WordNet's nouns, from the first of NLTK's folders that has them.

    Raises:
        UserError: If NLTK isn't installed, or there is no WordNet, or its files are damaged.
    """
    if find_spec("nltk") is None:
        raise UserError(f"WUPS takes the package nltk, which isn't installed: pip install 'onetrunk[wups]'. {_HOW}")
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            """Map nothing: the senses of other releases serve other languages, and take longer than all the rest."""

    root = _find()
    with _reading(str(root)):
        reader = Reader(root, omw_reader=None)
        # NLTK reads the release anew, from the file, each time that it compares two senses
        reader.get_version = cache(reader.get_version)
    return WordNet(reader, str(root))


def _find() -> Any:
    """Return NLTK's pointer at WordNet's folder, or at the one in the archive."""
    import nltk.data

    folders = ", ".join(map(str, nltk.data.path)) or "no folder at all"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for place in _PLACES:
            with _reading(f"{place} in {folders}"):
                try:
                    return nltk.data.find(place)
                except LookupError:
                    continue
    # NLTK only warns of folders that others may write to, and goes on as if they weren't there
    refused = dict.fromkeys(str(each.message) for each in caught if each.category is RuntimeWarning)
    raise UserError(" ".join([f"WUPS takes WordNet, and NLTK finds none in {folders}.", *refused, _HOW]))


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Name the place in whatever NLTK raises over damaged files, of which it warns only at times."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", "The multilingual functions are not available")
            yield
    except Exception as error:
        raise UserError(
            f"{place}: WordNet's files can't be read ({str(error) or type(error).__name__}). {_HOW}"
        ) from error
