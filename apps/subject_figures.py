"""What a card says of subjects that were judged by several images each."""

from dataclasses import asdict
from typing import Any

from .evaluated_images import EvaluatedImages
from .evaluation import Evaluator
from .intervals import bootstrap


def describe_subjects(subjects: EvaluatedImages, evaluator: Evaluator) -> dict[str, Any]:
    """Return the card's details of subjects, with the figures of their images; nothing for images as such."""
    members = subjects.members
    if members is None:
        return {}
    rows, places = members.images.rows, members.places
    of_images = bootstrap(
        lambda weights: evaluator.measure(rows, weights[:, places]), len(subjects), inflated=evaluator.inflated
    )
    about = {
        "subjects": len(subjects),
        "metrics_of_images": {name: asdict(estimate) for name, estimate in of_images.items()},
        "note": "the figures are of subjects, each the mean of its images' probabilities; every interval, those of "
        "metrics_of_images too, comes from resampling subjects",
    }
    return {"by_subject": about}
