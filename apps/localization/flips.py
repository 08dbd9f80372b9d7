"""Mirror images at test time."""

from ...backbones.errors import UserError
from ..task import Task
from ..views import FlipOptions, make_views


def use_flips(task: Task, options: FlipOptions) -> None:
    """Let a task look at mirror images too, where that was asked for.

    Raises:
        UserError: If its canvas is padded: mirrored, the picture would be where the head looks for none.
    """
    if options.flips and task.description["inputs"]["mode"] == "pad":
        raise UserError(
            "--flips is for models that were trained with --resize stretch; this one's pictures are padded. "
            "Leave it out."
        )
    task.views = make_views(options)
