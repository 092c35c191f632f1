"""How a command ends: one line on stderr and an exit status."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanser_ops.common.command import at_least, between, guarded, positive, print_next, root_cause, share, whole
from lanser_ops.common.errors import InputError, Interrupted

ROOT = Path(__file__).parents[3]


def ending(error: BaseException, **options) -> int:
    def run(argv):
        raise error

    return guarded(run, [], "stage", **options)


def test_a_character_that_the_terminal_lacks_ends_no_command():
    program = "from lanser_ops.common.command import guarded; raise SystemExit(guarded(lambda _: print('é…'), [], 'x'))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xe9\\u2026\n", "")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("x.wav: no samples"), 2, "x.wav: no samples"),
        (InputError("x.wav: no samples [while running 'Read']"), 2, "x.wav: no samples"),
        (Interrupted("stopped at step 7"), 143, "stopped at step 7"),
        (KeyboardInterrupt(), 130, "interrupted; the same command continues where it stopped"),
        (RuntimeError("disk gone\nmore"), 1, "disk gone (--verbose shows the whole trace)"),
        (KeyError("text"), 1, "KeyError: 'text' (--verbose shows the whole trace)"),
        (RuntimeError("Traceback\nlanser_ops.common.errors.InputError: no GPU [while running 'ASR']\n"), 2, "no GPU"),
        (StopIteration(), 1, "StopIteration (--verbose shows the whole trace)"),
        (ModuleNotFoundError("No module named 'x'", name="x"), 1,
         "ModuleNotFoundError: No module named 'x' (--verbose shows the whole trace)"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_a_status(error, status, line, capsys):
    assert ending(error) == status
    assert capsys.readouterr().err == f"lanser stage: {line}\n"


def test_a_missing_module_of_an_extra_is_bad_input(capsys):
    assert ending(ModuleNotFoundError("No module named 'psutil'", name="psutil"), extra="train") == 2
    assert capsys.readouterr().err == "lanser stage: psutil is not installed; pip install 'lanser[train]'\n"


def test_verbose_raises_errors_that_are_no_fault_of_the_input():
    def run(argv):
        raise KeyError("text")

    with pytest.raises(KeyError):
        guarded(run, ["--verbose"], "stage")


def test_verbose_raises_no_bad_input_that_a_worker_found(capsys):
    def run(argv):
        raise RuntimeError("Traceback\nlanser_ops.common.errors.InputError: no GPU [while running 'ASR']\n")

    assert guarded(run, ["--verbose"], "stage") == 2
    assert capsys.readouterr().err == "lanser stage: no GPU\n"


def test_success_is_0_and_gets_the_arguments():
    arguments = []
    assert guarded(arguments.extend, ["--a", "b"], "stage") == 0
    assert arguments == ["--a", "b"]


def test_a_reader_of_stdout_may_leave():
    code = (
        "from lanser_ops.common.command import guarded\n"
        "raise SystemExit(guarded(lambda argv: [print(n) for n in range(100_000)] and None, [], 'stage'))\n"
    )
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -1', sys.executable, code],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_the_root_cause_of_a_worker_error_is_its_last_error_line():
    message = (
        "Traceback (most recent call last):\n  File x\nValueError: inner\n\nDuring handling\n"
        "RuntimeError: OSError: no space left [while running 'Write']\n"
    )
    assert root_cause(RuntimeError(message)) == "OSError: no space left"


def test_what_to_do_about_a_full_disk_is_said_also_of_an_error_in_a_worker(capsys):
    def run(_):
        raise RuntimeError("RuntimeError: OSError: [Errno 28] No space left on device: '/o/x' [while running 'Write']")

    assert guarded(run, [], "stage") == 1
    line = "OSError: [Errno 28] No space left on device: '/o/x'; make room on that disk, and run the command again\n"
    assert capsys.readouterr().err == f"lanser stage: {line}"


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan"])
def test_positive_numbers_are_finite(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a positive number"):
        positive(float)(text)


def test_between_includes_its_bounds():
    fraction = between(0, 1)
    assert (fraction("0"), fraction("1"), fraction("0.25")) == (0.0, 1.0, 0.25)
    for text in ("-0.1", "1.1", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not between 0 and 1"):
            fraction(text)


def test_whole_takes_no_fractions_and_includes_its_bounds():
    assert (whole(0, 16)("0"), whole(0, 16)("16")) == (0, 16)
    for text in ("17", "-1", "1.5", "one", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not a whole number from 0 to 16"):
            whole(0, 16)(text)


def test_at_least_includes_its_bound_and_is_finite():
    assert (at_least(1)("1"), at_least(1)("2.5")) == (1.0, 2.5)
    for text in ("0.99", "inf", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not a number of at least 1"):
            at_least(1)(text)


def test_a_share_is_never_nothing():
    assert (share("0.01"), share("1")) == (0.01, 1.0)
    for text in ("0", "1.01", "-0.5", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not above 0 and at most 1"):
            share(text)


def test_it_imports_the_standard_library_alone():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import lanser_ops.common.command, lanser_ops.common.device, lanser_ops.common.errors\n"
        "names = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(names - sys.stdlib_module_names))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "['lanser_ops']\n", done.stderr


def test_what_to_run_next_is_as_a_shell_takes_it(capsys):
    print_next("inspect", Path("my clips"), "--label", "joy")
    assert capsys.readouterr().out == "next: lanser inspect 'my clips' --label joy\n"
