"""Signals are deferred where something could be lost, and raise at once everywhere else."""

import os
import signal

import pytest
from onetrunk.apps.interruption import Interrupted, stop_on_signals


def test_a_signal_raises_at_once_by_default() -> None:
    with pytest.raises(Interrupted) as stop, stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.exit_code == 143


def test_a_deferred_signal_waits_to_be_asked_for_also_when_sent_twice() -> None:
    with stop_on_signals() as request:
        request.is_deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal_number == signal.SIGTERM
        with pytest.raises(Interrupted):
            request.raise_if_requested()


def test_a_second_interrupt_does_not_wait() -> None:
    with stop_on_signals() as request:
        request.is_deferred = True
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted) as stop:
            os.kill(os.getpid(), signal.SIGINT)
    assert stop.value.exit_code == 130


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
