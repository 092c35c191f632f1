"""The parser of every command: what it says of a mistake, what its help shows, and options from a file."""

from __future__ import annotations

import pytest

from lanser_ops.common.command import positive
from lanser_ops.common.errors import InputError
from lanser_ops.common.parser import Parser


@pytest.fixture
def parser() -> Parser:
    parser = Parser("stage", "Do a thing.", example="lanser stage --input a", notes="More.")
    parser.add_argument("--input", required=True, action="append", nargs="+", help="what to read")
    parser.add_argument("--device", choices=("auto", "cuda"), default="auto", help="where to run")
    parser.add_argument("--count", type=positive(int), default=3)
    parser.add_argument("--template", action="append")
    parser.add_argument("--resume", action="store_true", help="go on")
    return parser


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--input", "a", "--devise", "cuda"], "unknown option --devise; did you mean --device?"),
        (["--imput", "a"], "unknown option --imput; did you mean --input?"),
        (["--input", "a", "--zzz"], "unknown option --zzz"),
        (["--device", "auto"], "the following arguments are required: --input"),
        (["--input", "a", "--device", "cudda"],
         "argument --device: 'cudda' is not one of auto, cuda; did you mean cuda?"),
        (["--input", "a", "--count", "0"], "argument --count: 0 is not a positive number"),
        (["--input", "a", "--count", "x"], "argument --count: invalid int value: 'x'"),
        (["--input", "a", ""], "argument --input: the value is empty; give one, or leave it out"),
        (["--input", "a", "--template="], "argument --template: the value is empty; give one, or leave it out"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_mend(parser, argv, message):
    with pytest.raises(InputError) as error:
        parser.parse_args(argv)
    assert str(error.value) == f"{message} (see lanser stage --help)"


def test_an_argument_that_nothing_takes_is_named():
    with pytest.raises(InputError, match="^unexpected argument 'x' "):
        Parser("stage", "Do a thing.").parse_args(["x"])


def test_help_shows_defaults_example_and_notes(parser):
    lines = [" ".join(line.split()) for line in parser.format_help().splitlines()]
    assert "where to run; default: auto" in " ".join(lines)
    assert "--resume go on" in lines
    assert lines[-2:] == ["Example: lanser stage --input a", "More."]


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> list[str]:
        path = tmp_path / "options.yaml"
        path.write_text(text, encoding="utf-8")
        return ["--config", str(path)]

    return write


def test_a_file_gives_values_that_the_command_line_replaces(parser, config):
    file = config("input: [a, b]\ncount: 7\ntemplate: [x, y]\nresume: true\ndevice:\n")
    args = parser.parse_args([*file, "--count", "5"])
    assert (args.input, args.count, args.template, args.resume, args.device) == (
        [["a", "b"]], 5, ["x", "y"], True, "auto"
    )  # fmt: skip
    assert parser.parse_args([*file, "--input", "c"]).input == [["c"]]


def test_positional_arguments_are_not_taken_by_an_option_of_a_file(config):
    parser = Parser("stage", "Do a thing.")
    parser.add_argument("audio", nargs="+")
    parser.add_argument("--shards", nargs="+")
    for argv in (["a.wav", *config("shards: [x, y]")], [*config("shards: [x, y]"), "--", "a.wav"]):
        args = parser.parse_args(argv)
        assert (args.audio, args.shards) == (["a.wav"], ["x", "y"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("input: a\ncuont: 3", "2: there is no option cuont; did you mean count?"),
        ("input: a\ninput: b", "2: input is there twice; remove one"),
        ("- input", "1: must be a mapping of option names to values"),
        ("input: {a: b}", "1: input must be a value or a list of values"),
        ('input: "a', "1: is not valid YAML: while scanning a quoted scalar, found unexpected end of stream"),
    ],
)
def test_a_faulty_file_is_refused_with_its_line(parser, config, text, reason):
    argv = config(text)
    with pytest.raises(InputError) as error:
        parser.parse_args(argv)
    assert str(error.value) == f"--config {argv[1]}:{reason}"


def test_a_value_of_a_file_is_checked_like_one_of_the_command_line(parser, config):
    with pytest.raises(InputError, match="argument --count: -1 is not a positive number"):
        parser.parse_args(config("input: a\ncount: -1"))


def test_a_file_that_is_not_there_is_named(parser):
    with pytest.raises(InputError, match=r"--config gone.yaml: cannot be read \(No such file or directory\)"):
        parser.parse_args(["--config", "gone.yaml"])


def test_usage_has_what_must_be_given(parser):
    assert parser.format_help().splitlines()[0] == "usage: lanser stage --input INPUT [INPUT ...] [options]"


def test_help_shows_a_default_of_several_values():
    parser = Parser("stage", "Do a thing.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="a run for each")
    parser.add_argument("--folds", nargs="+", default=[], help="to test on")
    printed = " ".join(parser.format_help().split())
    assert "a run for each; default: 0 1" in printed and "to test on; default: none" in printed


def test_an_option_in_a_group_is_an_option(config):
    parser = Parser("stage", "Do a thing.")
    group = parser.add_argument_group("running")
    group.add_argument("--threads", type=positive(int))
    assert parser.parse_args(config("threads: 2")).threads == 2
    with pytest.raises(InputError, match="unknown option --thread; did you mean --threads?"):
        parser.parse_args(["--thread", "2"])
