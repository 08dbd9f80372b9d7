"""Java programs: every way to fail has its sentence; where Java is, the numbers are pycocoevalcap's."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.captioning import java_metrics
from onetrunk.apps.captioning.java_metrics import java_fault, meteor, ptb_words, spice
from onetrunk.backbones import UserError

FIGURES = {
    "ptb": lambda: ptb_words(["a dog"]),
    "meteor": lambda: meteor([["a", "dog"]], [[["a", "dog"]]]),
    "spice": lambda: spice([["a", "dog"]], [[["a", "dog"]]]),
}
NAMES = java_metrics.JAVA_METRICS


@pytest.fixture
def jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as pycocoevalcap's, with every file there, all empty."""
    for names in java_metrics._FILES.values():
        for name in names:
            (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "package" / name).touch()
    monkeypatch.setattr(java_metrics, "_folder", lambda: tmp_path / "package")
    return tmp_path / "package"


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jars: Path):
    """Makes a program `java` of a shell script; the only one on the PATH."""

    def make(script: str) -> None:
        program = tmp_path / "bin" / "java"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", str(program.parent))

    return make


@pytest.mark.parametrize("which", NAMES)
def test_without_the_package_its_name_is_told(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_metrics, "_folder", lambda: None)
    assert "pip install 'onetrunk[captions]'" in str(java_fault(which))
    with pytest.raises(UserError, match=f"{NAMES[which]} takes the package pycocoevalcap, which isn't installed"):
        FIGURES[which]()


@pytest.mark.parametrize("which", NAMES)
def test_without_java_it_is_asked_for(which: str, jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        UserError, match=r"is a Java program, and there is no `java` on the PATH\. Install a Java runtime"
    ):
        FIGURES[which]()


@pytest.mark.parametrize("which", NAMES)
def test_a_missing_file_is_named(which: str, java, jars: Path) -> None:
    java("exit 1")
    assert java_fault(which) is None
    name = java_metrics._FILES[which][0]
    (jars / name).unlink()
    with pytest.raises(UserError, match=rf"takes .*{Path(name).name}, which isn't there. Install the package"):
        FIGURES[which]()


def test_spice_downloads_nothing(java, jars: Path) -> None:
    java("exit 1")
    (jars / "spice/lib/stanford-corenlp-3.6.0-models.jar").unlink()
    with pytest.raises(UserError, match=r"3.6.0-models.jar. Nothing is downloaded by itself; take the two files"):
        FIGURES["spice"]()


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"Unknown Java figure 'meteo'\. Known: ptb, meteor, spice\. Did you mean 'meteor'"
    ):
        java_fault("meteo")


@pytest.mark.parametrize("which", NAMES)
def test_what_java_complains_of_is_told(which: str, java) -> None:
    java("echo first >&2; echo 'Error: out of memory' >&2; exit 3")
    with pytest.raises(UserError, match=f"^{NAMES[which]} failed: Error: out of memory. Evaluate without it"):
        FIGURES[which]()


@pytest.mark.parametrize("which", NAMES)
def test_a_java_that_says_nothing_is_no_endless_wait(which: str, java) -> None:
    java("exit 0")
    with pytest.raises(UserError, match="failed: it said nothing"):
        FIGURES[which]()


def test_a_java_that_says_nonsense_is_an_error(java) -> None:
    java("while read -r line; do echo nonsense; echo more; done")
    with pytest.raises(UserError, match="METEOR failed: "):
        FIGURES["meteor"]()


def test_meteor_takes_the_last_number_for_the_corpus(java) -> None:
    java(
        'while read -r line; do case "$line" in SCORE*) echo "1.0 2.0";;'
        " EVAL*) echo 0.25; echo 0.5; echo 0.4;; esac; done"
    )
    corpus, each = meteor([["a"], []], [[["a"]], [["b"]]])
    assert corpus == 0.4
    assert each.tolist() == [0.25, 0.5]


def test_spice_scores_come_in_the_captions_order(java) -> None:
    scores = '[{"image_id": 1, "scores": {"All": {"f": 0.5}}}, {"image_id": 0, "scores": {"All": {"f": 0.25}}}]'
    java(f'while [ "$1" != -out ]; do shift; done; echo \'{scores}\' > "$2"')
    corpus, each = spice([["a"], ["b"]], [[["a"]], [["b"]]])
    assert corpus == 0.375
    assert each.tolist() == [0.25, 0.5]


def test_nothing_is_run_for_no_text(java) -> None:
    java("exit 1")
    assert ptb_words([]) == []
    assert meteor([], [])[1].shape == (0,)


needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java isn't installed")


@pytest.mark.slow
@needs_java
@pytest.mark.parametrize("locale", ["C", "de_DE.UTF-8", "tr_TR.UTF-8"])
def test_the_program_gives_the_words_that_are_kept(locale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    golden = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
    assert ptb_words([text for text, _ in golden]) == [words for _, words in golden]
    assert ptb_words(["", "two\nlines", "", "caf\u00e9\u2028 \u72ac", ""]) == [
        [],
        ["two", "lines"],
        [],
        ["caf\u00e9", "\u72ac"],
        [],
    ]


@pytest.mark.slow
@needs_java
def test_meteor_is_pycocoevalcap_s(corpus) -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    # of those it can be asked about: it has no answer for texts without words
    pairs = [pair for pair in zip(*corpus, strict=True) if pair[0] and all(pair[1])][:60]
    said = {place: [" ".join(words)] for place, (words, _) in enumerate(pairs)}
    true = {place: [" ".join(words) for words in each] for place, (_, each) in enumerate(pairs)}
    expected, each = Meteor().compute_score(true, said)
    found, scores = meteor([words for words, _ in pairs], [references for _, references in pairs])
    assert found == pytest.approx(expected, abs=1e-9)
    assert scores == pytest.approx(each, abs=1e-9)


@pytest.mark.slow
@needs_java
def test_captions_without_words_score_nothing() -> None:
    corpus, each = meteor([["a", "dog", "runs"], []], [[["a", "dog", "runs"]], [["a", "cat"]]])
    assert each == pytest.approx(np.array([1.0, 0.0]), abs=0.01)
    assert 0 < corpus < 1
