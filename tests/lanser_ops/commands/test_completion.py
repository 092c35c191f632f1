"""``lanser completion``: the shell itself completes with the script."""

from __future__ import annotations

import subprocess

from lanser_ops.commands import completion


def test_bash_completes_commands_and_options(capsys):
    assert completion.main(["bash"]) == 0
    script = capsys.readouterr().out
    words = 'COMP_WORDS=(lanser build --prior-s); COMP_CWORD=2; _shtab_lanser; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{words}"], capture_output=True, text=True)
    assert done.stdout.split() == ["--prior-strength"]
