"""Signals as errors."""

from __future__ import annotations

import os
import signal
import time

import pytest

from lanser_ops.common.signals import Stopped, stops


class Finalized:
    """Sends SIGTERM to this process while it is finalized."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.001)  # the handler runs here


def test_a_signal_while_an_object_is_finalized_is_not_lost():
    reached = []
    with pytest.raises(Stopped) as stopped, stops():
        Finalized()
        reached.append("the next line")
        time.sleep(30)
        reached.append("the end")
    assert (stopped.value.number, reached) == (signal.SIGTERM, ["the next line"])


def test_a_signal_while_an_object_is_finalized_counts_where_the_block_ends_before_it_is_repeated():
    with pytest.raises(Stopped), stops():
        Finalized()
    time.sleep(0.1)  # a repeated signal would end this process
