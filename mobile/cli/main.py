"""The command `edgewise`: finds the command, runs it, and turns every error into one clear line and an exit code.

Commands are imported when they are called, and their one-line helps are kept here, so that `edgewise --help` starts no
runtime (a test holds the two texts together).
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from mobile import __version__
from mobile.errors import EdgewiseError

COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("mobile.cli.quickstart", "The main job on this machine: export, push, bench, evaluate; a table."),
    "devices": ("mobile.cli.devices", "The devices of the inventory: reachable or not, and what they are."),
    "setup": ("mobile.cli.setup", "Give devices a runtime, offline if they must."),
    "doctor": ("mobile.cli.doctor", "Everything that could go wrong on a device, checked in order."),
    "export": ("mobile.cli.export", "Export a model to a verified artifact."),
    "inspect": ("mobile.cli.inspect", "What is in a model file, and who can run it."),
    "push": ("mobile.cli.push", "Put a model on devices."),
    "rollback": ("mobile.cli.rollback", "Go back to the version of a model that was in use before."),
    "store": ("mobile.cli.store", "What edgewise stored on a device: list it, or free its space."),
    "bench": ("mobile.cli.bench", "Measure models on devices."),
    "verify": ("mobile.cli.verify", "Compare artifacts with their exact reference, on devices."),
    "probe": ("mobile.cli.probe", "Time the carriers of compressed weights on a device."),
    "profile": ("mobile.cli.profile", "Per-operator and per-cut times of a model on a device."),
    "link": ("mobile.cli.link", "Measure the link between a device and an edge server."),
    "serve": ("mobile.cli.serve", "Serve the server's parts of split packages."),
    "attach": ("mobile.cli.attach", "Come back to runs that devices measure on their own, and store them."),
    "runs": ("mobile.cli.runs", "The stored runs, newest first."),
    "report": ("mobile.cli.report", "Figures of stored runs, as a table or as data."),
    "compare": ("mobile.cli.compare", "Which of stored runs are faster, and whether that can be told."),
    "history": ("mobile.cli.history", "A model's runs on a device over time, and where they changed."),
    "bundle": ("mobile.cli.bundle", "Put runs into one file that another person imports."),
    "import": ("mobile.cli.import_", "Take the runs of a bundle into the store."),
    "split": ("mobile.cli.split", "Place a model's layers on a device and a server, and run it split."),
    "policy": ("mobile.cli.policy", "Check a policy of split runs, and simulate it on bandwidth traces."),
    "completion": ("mobile.cli.completion", "Print the shell's completion script."),
}

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a slip."""
        import difflib

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"no command {args[0]!r}, did you mean {near[0]!r}?", ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgewise")
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
@click.option("--inventory", type=click.Path(dir_okay=False), envvar="EDGEWISE_INVENTORY", help="devices.yaml to use.")
@click.option(
    "--store", type=click.Path(dir_okay=False), envvar="EDGEWISE_STORE", help="Run store to use (an SQLite file)."
)
@click.pass_context
def cli(ctx: click.Context, debug: bool, inventory: str | None, store: str | None) -> None:
    """Export compressed models, push them to edge devices, and measure there what they really cost."""
    ctx.obj = {"debug": debug, "inventory": inventory, "store": store}


def entry() -> None:
    """Runs the command line and exits with its code; this is what `edgewise` calls."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of a command line: 0 done, 1 something failed, 2 usage, 3 not reached, 130 interrupted."""
    debug = "--debug" in arguments
    # --debug may stand anywhere: a user adds it to the end of the line that failed.
    arguments = [argument for argument in arguments if argument != "--debug"]
    prefix = ["--debug"] if debug else []
    try:
        result = cli.main(prefix + arguments, prog_name="edgewise", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except click.ClickException as error:
        return _usage(error)
    except EdgewiseError as error:
        return _failed(error, debug)
    except Exception as error:  # the last stop: a fault of ours must also end in one line
        if debug:
            raise
        _say(f"internal error: {type(error).__name__}: {error}", "this is a fault in edgewise: run again with --debug")
        return EXIT_FAILED
    return result if isinstance(result, int) else 0


def _usage(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "edgewise"
    _say(error.format_message().replace("\n", " "), f"`{path} --help` lists what can be given")
    return EXIT_USAGE


def _failed(error: EdgewiseError, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    _say(error.message, error.hint)
    return error.exit_code


def _say(message: str, hint: str | None = None) -> None:
    click.echo(f"edgewise: {message}", err=True)
    if hint:
        click.echo(f"  next: {hint}", err=True)
