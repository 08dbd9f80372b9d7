"""onetrunk's figures of captions beside pycocoevalcap's: the same numbers, and the time they take.

    python benchmarks/captioning_metrics.py --images 5000 --references 5 --repeats 3

Captions are generated; both get the same words. Times are medians; the two take turns.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
from onetrunk.apps.captioning.bleu import bleu, bleu_counts, reference_runs
from onetrunk.apps.captioning.cider import cider
from onetrunk.apps.captioning.rouge import rouge_l
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

Corpus = tuple[list[list[str]], list[list[list[str]]]]
#: What is compared: the figure of the corpus, then of each image where there is such.
Figures = np.ndarray


def generate(images: int, references: int, seed: int = 0) -> Corpus:
    """Return the words of a caption and of references for each image, of about 10 words, as rare as words are."""
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(8000)]
    rarity = [1 / (number + 1) for number in range(len(words))]

    def vary(topic: list[str]) -> list[str]:
        kept = [word for word in topic if chance.random() < 0.6]
        return kept + chance.choices(words, rarity, k=chance.randint(2, 7))

    topics = [chance.choices(words, rarity, k=10) for _ in range(images)]
    return [vary(topic) for topic in topics], [[vary(topic) for _ in range(references)] for topic in topics]


def ours(corpus: Corpus) -> dict[str, Callable[[], Figures]]:
    captions, references = corpus

    def all_bleu() -> Figures:
        runs = map(reference_runs, references)
        counts = np.array([bleu_counts(*each) for each in zip(captions, runs, strict=True)])
        return bleu(counts, np.ones((1, len(captions)), dtype=np.int64))[0]

    return {
        "bleu": all_bleu,
        "rouge_l": lambda: np.array([rouge_l(*each) for each in zip(captions, references, strict=True)]),
        "cider": lambda: cider(captions, references),
    }


def peers(corpus: Corpus) -> dict[str, Callable[[], Figures]]:
    said = {place: [" ".join(words)] for place, words in enumerate(corpus[0])}
    true = {place: [" ".join(words) for words in each] for place, each in enumerate(corpus[1])}
    return {
        "bleu": lambda: np.array(Bleu(4).compute_score(true, said, verbose=0)[0]),
        "rouge_l": lambda: Rouge().compute_score(true, said)[1],
        "cider": lambda: Cider().compute_score(true, said)[1],
    }


def timed(compute: Callable[[], Figures]) -> tuple[Figures, float]:
    start = time.perf_counter()
    found = compute()
    return found, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    corpus = generate(arguments.images, arguments.references)
    mine, theirs = ours(corpus), peers(corpus)
    report = {}
    for name in mine:
        runs = [(timed(mine[name]), timed(theirs[name])) for _ in range(arguments.repeats)]
        seconds = statistics.median(run[0][1] for run in runs)
        peer_seconds = statistics.median(run[1][1] for run in runs)
        report[name] = {
            "max_difference": float(np.abs(runs[0][0][0] - runs[0][1][0]).max()),
            "onetrunk_seconds": round(seconds, 3),
            "pycocoevalcap_seconds": round(peer_seconds, 3),
            "times_faster": round(peer_seconds / seconds, 1),
        }
    print(json.dumps({"images": arguments.images, "references": arguments.references, **report}, indent=2))


if __name__ == "__main__":
    main()
