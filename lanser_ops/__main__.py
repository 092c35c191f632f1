"""``python -m lanser_ops``: the same as ``lanser``, where the script is not on the path."""

from lanser_ops.cli import main

raise SystemExit(main())
