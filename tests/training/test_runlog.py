"""The log of a pre-training run."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from training.runlog import LOG, RunLog

LINES = '{"step": 1, "val_loss": 0.5}\n' * 1000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / LOG).write_text(LINES)
    return tmp_path / LOG


def test_a_resumed_run_that_cannot_rewrite_its_log_keeps_it(log: Path, small_files: None):
    with pytest.raises(OSError):
        RunLog(log.parent, Accelerator(cpu=True), total=10, done=5)
    assert log.read_text() == LINES
