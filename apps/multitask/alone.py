"""The heads of a model against models that were trained alone, one for each app, on the same images."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...backbones.errors import UserError
from ..runs.comparison import compare_judged
from ..runs.judged import find_images, read_card, read_judged


def check_alone(runs: Sequence[str], tasks: Collection[str]) -> dict[str, Path]:
    """Return the folders of models that were trained alone, by their apps; only their cards are read.

    Args:
        runs: Folders of runs or evaluations, in any order.
        tasks: The apps that the model has heads of.

    Raises:
        UserError: For a folder without results, an app that the model has no head of, or two folders of one app.
    """
    found: dict[str, Path] = {}
    for run in runs:
        folder = Path(run)
        card = read_card(folder)
        if card.task not in tasks:
            raise UserError(
                f"'{run}' is of {card.task}, which the model has no head of. It has: {', '.join(tasks)}. Leave it out."
            )
        if card.task in found:
            raise UserError(
                f"'{found[card.task]}' and '{run}' are both of {card.task}; a head is compared with one run: leave out "
                "the other."
            )
        find_images(folder, card)
        found[card.task] = folder
    return found


def check_judged(alone: Mapping[str, Path], contents: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse models that were trained alone and judged on other images, before others are trained to compare with.

    Args:
        alone: Their folders, by app.
        contents: Of each app the images that its head will be judged on: a short hash of each file, by its name.

    Raises:
        UserError: If one was judged by subject, on none of these images, or on other files of the same names.
    """
    for task, folder in alone.items():
        judged, own = read_judged(folder), contents[task]
        if judged.unit != "image":
            raise UserError(
                f"'{folder}' was judged by {judged.unit}, and heads that are trained together are judged by image: "
                "evaluate it without --by-subject, and compare with that."
            )
        common = [name for name in judged.names if name in own]
        if not common:
            raise UserError(
                f"'{folder}' was judged on '{judged.names[0]}' and the like, and the head of {task} will be on "
                f"'{next(iter(own), 'nothing')}' and the like: they share no image. Evaluate it on the same data, or "
                "leave it out."
            )
        known = {} if judged.contents is None else dict(zip(judged.names, judged.contents.tolist(), strict=True))
        if changed := [name for name in common if known.get(name, 0) not in (0, own[name])]:
            raise UserError(
                f"'{folder}' was judged on {len(changed)} of {len(common)} images under the same name but with other "
                f"contents, such as '{changed[0]}'. Evaluate it on the same data, or leave it out."
            )


def compare_alone(together: Mapping[str, Path], runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare heads with models that were trained alone, on the images that both were judged on.

    Args:
        together: By app, the folder with the results of the model's head.
        runs: Folders of runs or evaluations of models that were trained alone, in any order.

    Returns:
        For each app among ``runs``, in the model's order: the primary ``metric``, its values ``alone`` and
        ``together``, the ``difference`` together - alone with its 95% interval ``low`` and ``high`` and ``p_value``,
        the ``folder`` of the model that was trained alone, how many ``images`` both were judged on, and ``notes``,
        what else one has to know, which call that model A and the head B.

    Raises:
        UserError: As :func:`check_alone`, and for folders that can't be compared, such as those of other images.
    """
    found = check_alone(runs, together)
    return {task: _compare(found[task], folder) for task, folder in together.items() if task in found}


def _compare(alone: Path, together: Path) -> dict[str, Any]:
    comparison = compare_judged(read_judged(alone), read_judged(together))
    figures = comparison.metrics[comparison.primary]
    shift = figures.difference
    return {
        "metric": comparison.primary,
        "alone": figures.first,
        "together": figures.second,
        "difference": shift.value,
        "low": shift.low,
        "high": shift.high,
        "p_value": shift.p_value,
        "folder": str(alone),
        "images": comparison.images,
        "notes": comparison.notes,
    }
