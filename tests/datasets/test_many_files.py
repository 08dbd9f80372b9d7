"""Files are looked at one after another while they come quickly, and by threads from the first slow ones on."""

import threading
import time

import pytest
from onetrunk.datasets import look_at_files, many_files

ITEMS = list(range(300))


def look(item: int) -> tuple[int, bool]:
    return item, threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize("count", [0, 1, 64, 300])
def test_each_is_looked_at_once_and_in_order(count: int) -> None:
    assert [item for item, _ in look_at_files(look, ITEMS[:count])] == ITEMS[:count]


def test_quick_files_need_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_files.time, "perf_counter", lambda: 0.0)
    assert look_at_files(look, ITEMS) == [(item, True) for item in ITEMS]


def test_slow_ones_are_waited_for_together() -> None:
    def wait(item: int) -> tuple[int, bool]:
        time.sleep(0.002 if item >= 64 else 0)
        return look(item)

    found = look_at_files(wait, ITEMS)
    assert [item for item, _ in found] == ITEMS
    assert [is_main for _, is_main in found].count(False) >= 300 - 3 * 64


def test_what_a_look_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        look_at_files(lambda item: 1 / (item - 250), ITEMS)
