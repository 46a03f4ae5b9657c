"""The physics of one board, as a process: see daemon.py."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from tests.lab.physics.boards import board
from tests.lab.physics.daemon import Daemon, be_punctual
from tests.lab.physics.handle import PLACE_PREFIX
from tests.lab.physics.load import Group, Processes, Profile


def main() -> int:
    """The exit status, once the board is gone."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.physics", description="Moves one board's files.")
    parser.add_argument("root", type=Path)
    parser.add_argument("personality")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", help="JSON: [[second, cores], ...]")
    parser.add_argument("--period", type=float, help="seconds after which the profile begins again")
    parser.add_argument("--group", action="append", type=Path, help="a control group whose CPU time is the load")
    parser.add_argument("--owner", type=int, help="the process with which this one ends")
    options = parser.parse_args()
    found = board(options.personality)
    if found is None:
        print(f"no physics for {options.personality!r}", file=sys.stderr)
        return 2
    load: Profile | Group | Processes = Processes()
    if options.profile:
        load = Profile([(since, cores) for since, cores in json.loads(options.profile)], options.period)
    elif options.group:
        load = Group(options.group)
    be_punctual()
    Daemon(found, options.root, options.folder, load, options.seed, options.owner).run()
    place = options.root.parent
    if options.owner is not None and os.getppid() != options.owner and place.name.startswith(PLACE_PREFIX):
        shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
