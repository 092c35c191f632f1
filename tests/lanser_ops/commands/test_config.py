"""``lanser config``: the file that it writes is one that the command reads."""

from __future__ import annotations

import pytest

from lanser_ops.command_table import COMMANDS, command_module
from lanser_ops.commands import config
from lanser_ops.common.parser import Parser


def test_the_file_names_every_option_and_reads_back(tmp_path, capsys):
    path = tmp_path / "build.yaml"
    assert config.main(["build", "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"wrote {path}; uncomment what you change, then: lanser build --config {path}\n"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "# val-fraction: 0.05" in lines
    assert "# taxonomy:" in lines
    path.write_text("\n".join(line.removeprefix("# ") for line in lines if line.startswith("# val-fraction:")))
    parser = command_module("build").build_parser()
    args = parser.parse_args(["--input", "a", "--output", "b", "--taxonomy", "ekman", "--config", str(path)])
    assert args.val_fraction == 0.05


def test_a_file_that_exists_is_not_replaced(tmp_path, capsys):
    path = tmp_path / "build.yaml"
    path.write_text("taxonomy: ekman")
    assert config.main(["build", "--output", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"lanser config: --output {path}: exists already; give another name, or remove it\n"
    )
    assert path.read_text() == "taxonomy: ekman"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_parser_with_an_example(command):
    parser = command_module(command).build_parser()
    assert isinstance(parser, Parser)
    assert parser.prog == f"lanser {command}"
    assert (parser.epilog or "").startswith("Example: ")
