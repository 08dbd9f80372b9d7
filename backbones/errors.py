"""The one exception for what a person can mend, and the wording of near misses."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the caller can mend: a wrong name, a damaged file, a missing download.

    The message says what was given, what is allowed and what to do. The command line prints it alone, without a
    traceback, and exits with code 2.
    """


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'X'?"`` for the nearest allowed word, or an empty string if none is near."""
    near = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def unknown(kind: str, given: str, allowed: Iterable[str]) -> UserError:
    """Return the error for a name that isn't known, listing the known ones and the nearest.

    Args:
        kind: What the name names, e.g. ``"backbone"``.
        given: What was asked for.
        allowed: The known names, in the order to print them.
    """
    allowed = list(allowed)
    return UserError(f"Unknown {kind} '{given}'. Known: {', '.join(allowed)}.{did_you_mean(given, allowed)}")
