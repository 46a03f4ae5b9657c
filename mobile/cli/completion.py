"""`edgewise completion`: the script that makes a shell complete edgewise's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print the shell's completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the shell's completion script.

    For bash: edgewise completion bash > ~/.local/share/bash-completion/completions/edgewise
    """
    from mobile.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell!r}")
    click.echo(found(cli, {}, "edgewise", "_EDGEWISE_COMPLETE").source())
    return 0
