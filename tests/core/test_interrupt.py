from __future__ import annotations

import os
import signal
import threading

import pytest

from noisylabels.core.interrupt import Interrupted, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_an_answer_and_the_handlers_come_back(number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.signal == number
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_an_inner_block_is_known_to_the_outer_one(number):
    with stop_on_signals() as outer:
        with stop_on_signals():
            pass
        assert not outer()
        with stop_on_signals() as inner:
            os.kill(os.getpid(), number)
        assert outer.signal == inner.signal == number


def test_a_second_signal_does_not_wait():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():  # noqa: PT012  the second is the one
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_leaves_the_handlers_alone():
    seen = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with stop_on_signals() as stop:
            seen.append((signal.getsignal(signal.SIGINT) is before, stop()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, False)]


def test_what_interrupted_says():
    stopped = Interrupted(3, 7)
    assert str(stopped) == "stopped in epoch 3, after 7 steps of it"
    assert (stopped.epoch, stopped.step, stopped.signal) == (3, 7, signal.SIGINT)
