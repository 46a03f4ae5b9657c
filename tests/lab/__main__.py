"""The lab by hand: python -m tests.lab COMMAND."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

from tests.lab import images, lab, requirements, spec
from tests.lab.lab import Lab
from tests.lab.physics.law import FAULTS
from tests.lab.process import LabError


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 done, 1 not done, with the reason on stderr."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.command not in ("install", "down", "sweep") and (reason := requirements.missing()):
            raise LabError(reason)
        COMMANDS[arguments.command](arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m tests.lab", description="A lab of virtual devices.")
    top.add_argument("--lab", default="lab", metavar="NAME", help="which lab (default: %(default)s)")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install the Debian packages that the lab needs")
    build = commands.add_parser("build", help="fill the cache, so that up takes a second")
    build.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(spec.KINDS))
    up = commands.add_parser("up", help="make the lab and switch its devices on")
    up.add_argument("--dev", action="append", metavar="NAME=KIND[,OPTION=VALUE...]", help="see README.md")
    commands.add_parser("status", help="addresses, keys and limits as JSON")
    execute = commands.add_parser("exec", help="run a program on ctl, edge or a device's console")
    execute.add_argument("name")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- PROGRAM...")
    link = commands.add_parser("link", help="pull, plug or change a cable")
    link.add_argument("name")
    link.add_argument("state", nargs="?", choices=("up", "down"))
    for option, example in (("rate", "10mbit|none"), ("delay", "40ms"), ("jitter", "5ms"), ("loss", "1%")):
        link.add_argument(f"--{option}", metavar=example.replace("%", "%%"))
    power = commands.add_parser("power", help="switch a device on or off")
    power.add_argument("name")
    power.add_argument("state", choices=("on", "off"))
    sys_ = commands.add_parser("sys", help="change a file in a device's /sys")
    for name in ("name", "path", "value"):
        sys_.add_argument(name)
    inject = commands.add_parser("inject", help="make a device with a personality suffer from a fault")
    inject.add_argument("name")
    inject.add_argument("fault", help=", ".join(FAULTS))
    inject.add_argument("--for", dest="for_s", type=float, metavar="SECONDS", help="default: until its power is cut")
    down = commands.add_parser("down", help="remove the lab")
    down.add_argument("--all", action="store_true", help="the cached images too")
    commands.add_parser("sweep", help="remove the labs of test runs that have ended")
    return top


def _install(arguments: argparse.Namespace) -> None:
    done = requirements.install()
    print("installed: " + (", ".join(done) or "nothing, all was there"))


def _build(arguments: argparse.Namespace) -> None:
    unknown = set(arguments.kinds) - set(spec.KINDS)
    if unknown:
        raise LabError(f"unknown kind {sorted(unknown)[0]!r} (there are: {', '.join(spec.KINDS)})")
    images.prepare(arguments.kinds or [node.kind for node in spec.nodes(spec.DEFAULT).values() if node.is_device])


def _up(arguments: argparse.Namespace) -> None:
    show(Lab.up(arguments.lab, arguments.dev or spec.DEFAULT))


def _status(arguments: argparse.Namespace) -> None:
    show(Lab.find(arguments.lab))


def show(found: Lab) -> None:
    """Nothing; the lab is described on stdout."""
    document = {
        "lab": found.state.lab,
        "ssh_config": str(found.ssh_config_path),
        "ssh_key": str(found.ssh_key_path),
        "known_hosts": str(found.known_hosts_path),
        "adb_key": str(found.adb_key_path),
        "nodes": {name: asdict(node) for name, node in found.state.nodes.items()},
        "on": [name for name in found.devices if found.is_on(name)],
    }
    print(json.dumps(document, indent=1))


def _exec(arguments: argparse.Namespace) -> None:
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        raise LabError("exec: no program given")
    words, environment = Lab.find(arguments.lab).program(arguments.name, argv)
    sys.stdout.flush()
    os.execvpe(words[0], words, environment if environment is not None else dict(os.environ))


def _link(arguments: argparse.Namespace) -> None:
    a = arguments
    up = None if a.state is None else a.state == "up"
    Lab.find(a.lab).link(a.name, up=up, rate=a.rate, delay=a.delay, jitter=a.jitter, loss=a.loss)


def _power(arguments: argparse.Namespace) -> None:
    Lab.find(arguments.lab).power(arguments.name, on=arguments.state == "on")


def _sys(arguments: argparse.Namespace) -> None:
    Lab.find(arguments.lab).write_sys(arguments.name, arguments.path, arguments.value)


def _inject(arguments: argparse.Namespace) -> None:
    Lab.find(arguments.lab).inject(arguments.name, arguments.fault, arguments.for_s)


def _down(arguments: argparse.Namespace) -> None:
    lab.down(arguments.lab)
    if arguments.all:
        images.forget()


def _sweep(arguments: argparse.Namespace) -> None:
    print("removed: " + (", ".join(lab.sweep()) or "nothing"))


COMMANDS = {
    "install": _install,
    "build": _build,
    "up": _up,
    "status": _status,
    "exec": _exec,
    "link": _link,
    "power": _power,
    "sys": _sys,
    "inject": _inject,
    "down": _down,
    "sweep": _sweep,
}

if __name__ == "__main__":
    sys.exit(main())
