"""What only Java programs compute: METEOR, SPICE, and the words as the COCO caption server's own program finds them.

The programs come with the package pycocoevalcap (``pip install 'onetrunk[captions]'``), whose Python code isn't used:
it depends on the locale, waits for ever where Java fails, and downloads what SPICE takes without a word. Nothing is
downloaded here.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ...backbones.errors import UserError, unknown
from ...datasets.texts import clean_text
from .bleu import Words

#: What can be computed, and its name in messages.
JAVA_METRICS = {"ptb": "The Penn Treebank tokenizer", "meteor": "METEOR", "spice": "SPICE"}

_METEOR, _PTB, _SPICE = "meteor/meteor-1.5.jar", "tokenizer/stanford-corenlp-3.4.1.jar", "spice/spice-1.0.jar"
_MODELS = ("spice/lib/stanford-corenlp-3.6.0.jar", "spice/lib/stanford-corenlp-3.6.0-models.jar")
_FILES = {"ptb": (_PTB,), "meteor": (_METEOR, "meteor/data/paraphrase-en.gz"), "spice": (_SPICE, *_MODELS)}
#: Text and numbers must not depend on where the machine stands.
_JAVA = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
#: What the server leaves out of the words; brackets aren't among them, as they come in small letters.
_LEFT_OUT = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})
#: What separates texts on METEOR's lines.
_BAR = "|||"


def java_fault(which: str) -> str | None:
    """Return why a figure can't be computed here and what to do about it; nothing if it can.

    Args:
        which: A key of ``JAVA_METRICS``.

    Raises:
        UserError: If there is no such figure.
    """
    if which not in JAVA_METRICS:
        raise unknown("Java figure", which, JAVA_METRICS)
    name, folder = JAVA_METRICS[which], _folder()
    if folder is None:
        return f"{name} takes the package pycocoevalcap, which isn't installed: pip install 'onetrunk[captions]'."
    if shutil.which("java") is None:
        return f"{name} is a Java program, and there is no `java` on the PATH. Install a Java runtime, 8 or newer."
    missing = [str(folder / file) for file in _FILES[which] if not (folder / file).is_file()]
    if not missing:
        return None
    if set(missing) <= {str(folder / file) for file in _MODELS}:
        return (
            f"{name} takes Stanford CoreNLP 3.6.0, which is nowhere: {', '.join(missing)}. Nothing is downloaded by "
            "itself; take the two files out of stanford-corenlp-full-2015-12-09.zip (nlp.stanford.edu) and put them "
            "there."
        )
    return f"{name} takes {', '.join(missing)}, which isn't there. Install the package pycocoevalcap again."


def ptb_words(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of captions as the server's own program finds them.

    Raises:
        UserError: If it can't be run, or fails.
    """
    if not texts:
        return []
    jar = _file("ptb", _PTB)
    main = ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = "".join(f"{clean_text(text)}\n" for text in texts).encode("utf-8", "replace")
    done = subprocess.run(["java", *_JAVA, *main, "-encoding", "UTF-8"], input=lines, capture_output=True, check=False)
    found = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(found) != len(texts):
        raise _failed("ptb", done.stderr)
    return [[word for word in line.split() if word not in _LEFT_OUT] for line in found]


def meteor(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> tuple[float, NDArray[np.float64]]:
    """Return METEOR 1.5 (Denkowski 2014) of a corpus, English, and of each of its N captions, ``[N]``.

    The figure of the corpus is made of counts that are added up, as BLEU's is: it isn't the mean of the captions'.

    Args:
        captions: The words of each.
        references: Of each caption those of at least one reference.

    Raises:
        UserError: If it can't be run, or fails.
    """
    if not captions:
        return float("nan"), np.zeros(0)
    jar = _file("meteor", _METEOR)
    command = ["java", "-Xmx2G", *_JAVA, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    # what it complains of goes to a file: a pipe that nobody reads would stop it
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)
        try:
            counts = [
                _ask(process, complaints, " ".join(["SCORE", *_joined([*said, caption])]), lines=1)[0]
                for caption, said in zip(captions, references, strict=True)
            ]
            answer = _ask(
                process, complaints, " ".join(["EVAL", *(f"{_BAR} {each}" for each in counts)]), len(counts) + 1
            )
        finally:
            process.kill()
            process.communicate()
        try:
            scores = [float(line) for line in answer]
        except ValueError:
            raise _failed("meteor", "\n".join(answer).encode()) from None
    return scores[-1], np.array(scores[:-1])


def _joined(texts: Sequence[Words]) -> list[str]:
    """Return texts behind bars. One without words is a dot, which isn't counted: there must be something."""
    return [f"{_BAR} {' '.join(words).replace(_BAR, ' ').strip() or '.'}" for words in texts]


def _ask(process: "subprocess.Popen[bytes]", complaints: IO[bytes], line: str, lines: int) -> list[str]:
    """Return the lines that METEOR answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line.encode("utf-8", "replace") + b"\n")
        process.stdin.flush()
        found = [process.stdout.readline() for _ in range(lines)]
    except BrokenPipeError:
        found = [b""]
    if not all(found):
        process.wait()
        complaints.seek(0)
        raise _failed("meteor", complaints.read())
    return [each.decode("utf-8", "replace").strip() for each in found]


def spice(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> tuple[float, NDArray[np.float64]]:
    """Return SPICE (Anderson 2016) of a corpus, which is the mean, and of each of its N captions, ``[N]``.

    Args:
        captions: The words of each.
        references: Of each caption those of at least one reference.

    Raises:
        UserError: If it can't be run, or fails.
    """
    jar = _file("spice", _SPICE)
    asked = [
        {"image_id": place, "test": " ".join(caption), "refs": [" ".join(words) for words in said]}
        for place, (caption, said) in enumerate(zip(captions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder, "captions.json"), Path(folder, "scores.json")
        given.write_text(json.dumps(asked), encoding="utf-8")
        command = ["java", "-Xmx8G", *_JAVA, "-jar", str(jar), str(given), "-out", str(answer), "-subset", "-silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        if done.returncode or not answer.is_file():
            raise _failed("spice", done.stderr)
        found = {each["image_id"]: each["scores"]["All"]["f"] for each in json.loads(answer.read_text("utf-8"))}
    scores = np.array([float(found[place]) for place in range(len(asked))])
    return float(scores.mean()), scores


def _folder() -> Path | None:
    """Return the folder of pycocoevalcap, if it is installed."""
    spec = find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _file(which: str, name: str) -> Path:
    """Return where a program lies."""
    if fault := java_fault(which):
        raise UserError(fault)
    folder = _folder()
    assert folder is not None
    return folder / name


def _failed(which: str, complaint: bytes) -> UserError:
    """Return the error of a program that failed, with the last it said."""
    said = [line for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
    words = said[-1].strip() if said else "it said nothing"
    return UserError(f"{JAVA_METRICS[which]} failed: {words}. Evaluate without it, or mend Java.")
