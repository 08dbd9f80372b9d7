"""WUPS on a small WordNet in the files' own format; similarities were worked out by hand."""

import os
import zipfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from onetrunk.apps.vqa.wordnet import read_wordnet
from onetrunk.apps.vqa.wups import Wups
from onetrunk.backbones import UserError

#: Sense -> its words, and what it is a kind of ("@") or an instance of ("@i").
#:
#:     entity 10 -> animal 20 -> dog 30 (domestic dog), cat 40, mouse 45
#:               -> thing 50 -> furniture 60 -> chair 70, table 80, night stand 90
#:                           -> person 100 -> chair 110 (who leads), Rex 120, who is an animal too
SENSES = {
    10: ("entity", ()),
    20: ("animal beast", (("@", 10),)),
    30: ("dog domestic_dog", (("@", 20),)),
    40: ("cat", (("@", 20),)),
    45: ("mouse", (("@", 20),)),
    50: ("thing", (("@", 10),)),
    60: ("furniture", (("@", 50),)),
    70: ("chair", (("@", 60),)),
    80: ("table", (("@", 60),)),
    90: ("night_stand", (("@", 60),)),
    100: ("person", (("@", 50),)),
    110: ("chair chairman", (("@", 100),)),
    120: ("Rex", (("@i", 100), ("@", 30))),
}
LICENCE = "  1 This line stands for the licence, which begins with two spaces.  \n"
#: What NLTK opens besides the nouns.
OTHERS = [f"{kind}.{part}" for kind in ("index", "data") for part in ("verb", "adj", "adv")]


def data_lines(places: dict[int, int]) -> list[str]:
    """Return the senses' lines, which refer to each other by where they stand in the file."""
    lines = []
    for sense, (words, parents) in SENSES.items():
        named = " ".join(f"{word} 0" for word in words.split())
        # besides what is above there are other pointers: here one to a part, which leads nowhere
        above = (*parents, ("%p", 10))
        pointers = " ".join(f"{kind} {places.get(target, 0):08} n 0000" for kind, target in above)
        start = f"{places.get(sense, 0):08} 03 n {len(words.split()):02x} {named} {len(above):03} {pointers}"
        lines.append(f'{start} | a gloss; "so said"  \n')
    return lines


def write_wordnet(folder: Path) -> Path:
    """Write the senses as ``data.noun`` and ``index.noun``, one irregular plural, and the other parts of speech."""
    folder.mkdir(parents=True)
    lengths = [len(LICENCE), *map(len, data_lines({}))]
    places = dict(zip(SENSES, accumulate(lengths), strict=False))
    (folder / "data.noun").write_text(LICENCE + "".join(data_lines(places)))
    index: dict[str, list[int]] = {}
    for sense, (words, _) in SENSES.items():
        for word in words.split():
            index.setdefault(word.lower(), []).append(places[sense])
    rows = [
        f"{word} n {len(senses)} 2 @ %p {len(senses)} 0 {' '.join(f'{each:08}' for each in senses)}  \n"
        for word, senses in sorted(index.items())
    ]
    (folder / "index.noun").write_text(LICENCE + "".join(rows))
    (folder / "lexnames").write_text("".join(f"{number:02}\tnoun.some{number}\t1\n" for number in range(4)))
    for name in OTHERS:
        (folder / name).write_text(LICENCE)
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"{part}.exc").write_text("mice mouse\n" if part == "noun" else "")
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One of the two folders where NLTK looks; it reads nothing that others might write to."""
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "nowhere"), str(tmp_path / "data")])
    mask = os.umask(0o022)
    yield tmp_path / "data"
    os.umask(mask)


@pytest.fixture
def wups(data: Path) -> Wups:
    write_wordnet(data / "corpora" / "wordnet")
    return Wups(read_wordnet())


@pytest.mark.parametrize(
    ("first", "second", "similarity"),
    [
        ("dog", "cat", 2 * 2 / (3 + 3)),  # both are animals, at depth 2
        ("dog", "animal", 2 * 2 / (3 + 2)),
        ("dog", "domestic dog", 1.0),  # two names of one sense
        ("dog", "entity", 2 * 1 / (3 + 1)),
        ("chair", "table", 2 * 3 / (4 + 4)),  # of furniture; as a person only a thing
        ("chair", "person", 2 * 3 / (4 + 3)),  # who leads
        ("night stand", "table", 2 * 3 / (4 + 4)),
        ("night_stand", "night stand", 1.0),
        ("Rex", "person", 2 * 3 / (4 + 3)),  # an instance
        ("rex", "cat", 2 * 2 / (4 + 3)),  # over the dog
        ("dogs", "cat", 2 * 2 / (3 + 3)),
        ("mice", "cat", 2 * 2 / (3 + 3)),
        ("gizmo", "gizmo", 1.0),
        ("gizmo", "dog", 0.0),
        ("2", "3", 0.0),
    ],
)
def test_similarities_are_those_worked_out_by_hand(wups: Wups, first: str, second: str, similarity: float) -> None:
    assert wups.similarity(first, second) == pytest.approx(similarity, abs=1e-12)
    assert wups.similarity(second, first) == pytest.approx(similarity, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "answer", "at_09", "at_0"),
    [
        ("dog", "dog", 1.0, 1.0),
        ("Dog", "dog ", 1.0, 1.0),
        ("dog", "cat", 0.1 * 2 / 3, 2 / 3),
        ("chair", "table", 0.075, 0.75),
        ("gizmo", "dog", 0.0, 0.0),
        ("table, chair", "chair,table", 1.0, 1.0),
        # of the truth's two things the dog is far: 1 * 2/3; of what was said all is there
        ("cat", "cat, dog", 0.1 * 2 / 3, 2 / 3),
        ("cat, dog", "cat", 0.1 * 2 / 3, 2 / 3),
        # either side: chair and table have each other, 3/4 twice
        ("chair, chair", "table", 0.075**2, 0.75**2),
        ("", "dog", 0.0, 0.0),
    ],
)
def test_scores_are_the_smaller_of_both_products(wups: Wups, said: str, answer: str, at_09: float, at_0: float) -> None:
    assert wups.score(said, answer, 0.9) == pytest.approx(at_09, abs=1e-12)
    assert wups.score(said, answer, 0.0) == pytest.approx(at_0, abs=1e-12)


def test_a_threshold_that_is_just_reached_takes_nothing_off(wups: Wups) -> None:
    assert wups.score("chair", "table", 0.75) == 0.75


def test_several_people_count_alike(wups: Wups) -> None:
    assert wups.mean_score("dog", ("dog", "cat", "gizmo"), 0.0) == pytest.approx((1 + 2 / 3 + 0) / 3)


def pack_wordnet(data: Path, tmp_path: Path, name: str) -> None:
    folder = write_wordnet(tmp_path / "unpacked")
    (data / "corpora").mkdir(parents=True)
    with zipfile.ZipFile(data / "corpora" / f"{name}.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"{name}/{path.name}")


@pytest.mark.parametrize("name", ["wordnet", "wordnet31"])
def test_wordnet_may_lie_packed_as_the_downloader_leaves_it(data: Path, tmp_path: Path, name: str) -> None:
    pack_wordnet(data, tmp_path, name)
    assert Wups(read_wordnet()).similarity("mice", "dog") == pytest.approx(2 / 3)


def test_nothing_is_said_about_other_languages(wups: Wups, recwarn: pytest.WarningsRecorder) -> None:
    assert Wups(read_wordnet()).similarity("dog", "cat") == pytest.approx(2 / 3)
    assert not list(recwarn)


def test_a_pair_is_looked_up_once(wups: Wups, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wups.similarity("dog", "cat")
    monkeypatch.setattr(wups.wordnet, "similarity", None)
    assert wups.similarity("dog", "cat") == first
    assert wups.score("dog", "dog", 0.9) == 1


def test_without_nltk_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onetrunk.apps.vqa.wordnet.find_spec", lambda name: None)
    message = r"WUPS takes the package nltk, which isn't installed: pip install 'onetrunk\[wups\]'.*downloader wordnet"
    with pytest.raises(UserError, match=message):
        read_wordnet()


def test_without_wordnet_one_is_told_where_to_put_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.mkdir()
    message = (
        r"NLTK finds none in \S+nowhere, \S+data\. Fetch WordNet with 'python -m nltk.downloader wordnet'.*NLTK_DATA"
    )
    with pytest.raises(UserError, match=message):
        read_wordnet()
    monkeypatch.setattr("nltk.data.path", [])
    with pytest.raises(UserError, match="NLTK finds none in no folder at all"):
        read_wordnet()


def test_folders_that_others_may_write_to_are_named(data: Path) -> None:
    write_wordnet(data / "corpora" / "wordnet")
    data.chmod(0o777)
    with pytest.raises(UserError, match=r"NLTK finds none in .*NLTK will not read data from '\S+data'.*chmod go-w"):
        read_wordnet()


@pytest.mark.parametrize(
    ("name", "text"),
    [("index.noun", "dog n\n"), ("index.noun", "dog n 0 x\n"), ("lexnames", "x\n"), ("noun.exc", "\n")],
)
def test_damaged_files_are_named(data: Path, name: str, text: str) -> None:
    folder = write_wordnet(data / "corpora" / "wordnet")
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=r"corpora/wordnet: WordNet's files can't be read \(.+\)\. Fetch"):
        read_wordnet()


def test_missing_files_are_named(data: Path) -> None:
    folder = write_wordnet(data / "corpora" / "wordnet")
    (folder / "noun.exc").unlink()
    with pytest.raises(UserError, match=r"corpora/wordnet: WordNet's files can't be read \(.*noun\.exc"):
        read_wordnet()


@pytest.mark.parametrize("text", ["", "dog n\n", LICENCE])
def test_senses_that_are_not_where_the_index_says_are_named(data: Path, text: str) -> None:
    folder = write_wordnet(data / "corpora" / "wordnet")
    (folder / "data.noun").write_text(text)
    wordnet = read_wordnet()
    with pytest.raises(UserError, match=r"corpora/wordnet: WordNet's files can't be read \(No WordNet synset found"):
        wordnet.similarity("dog", "cat")


def test_a_damaged_archive_is_named(data: Path) -> None:
    (data / "corpora").mkdir(parents=True)
    (data / "corpora" / "wordnet.zip").write_bytes(b"no archive")
    with pytest.raises(
        UserError, match=r"corpora/wordnet in \S+nowhere, \S+data: WordNet's files can't be read \(.*zip"
    ):
        read_wordnet()
