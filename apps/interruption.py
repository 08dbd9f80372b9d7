"""SIGINT and SIGTERM, noticed at once and acted on where nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A run was asked to stop. Not an ``Exception``, so that no handler of errors swallows it.

    Attributes:
        signal_number: The signal that asked first.
    """

    def __init__(self, signal_number: int) -> None:
        """See the class."""
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.signal_number


class StopRequest:
    """Whether the process was asked to stop.

    While :attr:`is_deferred`, a signal is only noted: the training loop asks :meth:`raise_if_requested` after each
    step, when the state is whole and saved. At all other times (reading data, validating, warming up) the handler
    raises at once, so that no signal waits for a step that never comes. A second SIGINT never waits.
    """

    def __init__(self) -> None:
        """See the class."""
        self.is_deferred = False
        self.signal_number: int | None = None

    def install(self) -> None:
        """Become the process's handler of both signals; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self.handle)

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        """Note the signal, and raise if nothing can be lost by it."""
        is_impatient = self.signal_number is not None and signal_number == signal.SIGINT
        self.note(signal_number)
        if is_impatient or not self.is_deferred:
            self.raise_if_requested()

    def note(self, signal_number: int) -> None:
        """Take over a signal that another process got."""
        if self.signal_number is None:
            self.signal_number = signal_number

    def raise_if_requested(self) -> None:
        """Raise :class:`Interrupted` if a signal came."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Handle SIGINT and SIGTERM within the block; restore the former handlers after it."""
    request = StopRequest()
    former = {number: signal.getsignal(number) for number in _SIGNALS}
    request.install()
    try:
        yield request
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in former.items():
                signal.signal(number, handler)
