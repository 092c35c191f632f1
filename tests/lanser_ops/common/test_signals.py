"""Signals as errors."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path

import pytest

from lanser_ops.audio.decode import read_all
from lanser_ops.common.signals import Stopped, stops

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"


class Finalized:
    """Sends SIGTERM to this process while it is finalized."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.001)  # the handler runs here


def test_a_signal_while_an_object_is_finalized_is_not_lost(capfd):
    reached = []
    with pytest.raises(Stopped) as stopped, stops():
        Finalized()
        time.sleep(30)
        reached.append("the end")
    assert (stopped.value.number, reached) == (signal.SIGTERM, [])
    assert capfd.readouterr().err == ""  # where Python prints an error that it drops


class Recording(io.BytesIO):
    """Sends SIGTERM to this process when it is read from a decoder for the first time."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.001)  # the handler runs here
        return super().read(size)


def test_a_signal_while_a_decoder_reads_is_not_lost_in_the_decoder(capfd):
    recording = Recording((EXAMPLES / "rms" / "grandfather.opus").read_bytes())
    reached = []
    with pytest.raises(Stopped), stops():
        read_all(recording)  # the repeated signal may end it: a slow machine decodes for longer than REPEAT_S
        time.sleep(30)
        reached.append("the end")
    assert (recording.reads > 0, reached) == (True, [])
    assert capfd.readouterr().err == ""  # where PyAV prints an error that it drops


def test_a_signal_while_an_object_is_finalized_counts_where_the_block_ends_before_it_is_repeated():
    with pytest.raises(Stopped), stops():
        Finalized()
    time.sleep(0.1)  # a repeated signal would end this process
