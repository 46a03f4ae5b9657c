"""docs/commands.md, made from the commands' own help: `python -m tests.support.reference` writes it anew."""

from __future__ import annotations

from pathlib import Path

import click

from mobile.cli.main import COMMANDS, cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
HEAD = "# Commands\n\nMade from `--help`; write it anew with `python -m tests.support.reference`.\n"


def reference() -> str:
    """The text of docs/commands.md."""
    parent = click.Context(cli, info_name="edgewise", terminal_width=110, max_content_width=110)
    parts = [HEAD, _section("edgewise", cli.get_help(parent))]
    for name in COMMANDS:
        command = cli.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, terminal_width=110, max_content_width=110)
        parts.append(_section(f"edgewise {name}", command.get_help(context)))
    return "\n".join(parts)


def _section(title: str, text: str) -> str:
    body = "\n".join(line.rstrip() for line in text.splitlines())
    return f"## `{title}`\n\n```text\n{body}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
