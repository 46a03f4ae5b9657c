"""Pushes that are cut at random points, on the lab: `python -m tests.soak.push --count 300 --seed 1`

Each round pushes a variant of a model over SSH or ADB, and at a random point of it the cable is pulled, the board loses
power, the pushing process is killed, or the board's disk fills up. Then, and after the push was repeated, every model
visible on the board must have the SHA-256 that its folder names, and `current` must lead to the old model or the new
one. What a repeated push sends again of what the board had already must be less than one chunk.

One line of JSON for each round, a summary at the end; exit code 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobile.push.content import contents
from tests.lab import Lab, places
from tests.soak.push_worker import LIMIT_S
from tests.support.fleet import know_the_phone, lab_inventory
from tests.support.weights import random_weights, save_weights

DEVICES = {"ssh": "board", "adb": "phone"}
SPECS = ("board=ssh-amd64,disk=160M", "phone=adb-arm64,disk=160M")
RATE = "40mbit"
TENSORS, TENSOR_VALUES = 12, 150_000  # 7.2 MB in all
KINDS = ("cut", "cut-and-kill", "power", "kill", "full")
NAME = "model.onnx"

_LOOK = """
cd "$1" 2>/dev/null || exit 0
for f in store/*/*/model.onnx; do [ ! -f "$f" ] || echo "stored $f $(sha256sum <"$f")"; done
if [ -e current/model.onnx ] || [ -L current/model.onnx ]; then
    echo "current $(readlink current/model.onnx) $(sha256sum <current/model.onnx)"
fi
for f in incoming/*; do [ ! -f "$f" ] || echo "incoming $f $(wc -c <"$f")"; done
"""
_FILL = """
cd "$1" || exit 1
free=$(df -Pk . | while read -r _ _ _ free _; do echo "$free"; done | tail -n 1)
[ "$free" -le "$2" ] || head -c $(((free - $2) * 1024)) /dev/zero >.fill
exit 0
"""


@dataclass(frozen=True)
class Round:
    """One round, drawn before it begins. ``point`` is a share of what has to be sent; over 1, a time after it."""

    number: int
    transport: str
    kind: str
    changed: int
    point: float
    outage_s: float
    left_kb: int


@dataclass
class Outcome:
    """What came of a round."""

    wrong: list[str] = field(default_factory=list)
    stage: str = "before"  # where the push was when it was cut: before, under way, after
    had_bytes: int = 0  # of the file on the board after the cut
    kept_bytes: int = 0
    resent_bytes: int = 0


def draw(count: int, seed: int, transports: tuple[str, ...] = tuple(DEVICES)) -> Iterator[Round]:
    """The rounds of a seed; transports and kinds take turns."""
    source = random.Random(seed)
    for number in range(count):
        yield Round(
            number,
            transports[number % len(transports)],
            KINDS[number // len(transports) % len(KINDS)],
            source.choice((2, TENSORS, TENSORS)),
            source.uniform(-0.1, 1.2),
            source.choice((0.2, 1.0, 3.0)),
            source.choice((0, 100, 1000, 3000)),
        )


class Worker:
    """A push in a process of its own."""

    def __init__(self, lab: Lab, inventory: Path, device: str, model: Path, home: Path, patience_s: float) -> None:
        argv = [sys.executable, "-m", "tests.soak.push_worker", str(inventory), device, str(model), str(patience_s)]
        words, _ = lab.program("ctl", argv)
        env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(places.REPOSITORY)}
        self._child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env, cwd=places.REPOSITORY
        )
        self.done_bytes, self.size_bytes, self.first_bytes = 0, 0, 0
        self.stored = False
        self.last: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with contextlib.suppress(ValueError), self._changed:
                self._take(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self.last.setdefault("ended", "killed")
            self._changed.notify_all()

    def _take(self, told: dict[str, Any]) -> None:
        if "done" in told:
            self.first_bytes = self.first_bytes if self.size_bytes else told["done"]
            self.done_bytes, self.size_bytes = told["done"], told["size"]
        self.stored = self.stored or bool(told.get("stored"))
        if "ended" in told:
            self.last = told

    def share(self) -> float:
        """How much of what is to be moved has been; -1 before that is known."""
        if not self.size_bytes:
            return -1.0
        return (self.done_bytes - self.first_bytes) / max(1, self.size_bytes - self.first_bytes)

    def wait_for(self, share: float, limit_s: float) -> None:
        """Nothing, once so much has been moved, or it has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.share() >= share or bool(self.last), limit_s)

    def kill(self) -> None:
        """SIGKILL, as by the kernel."""
        self._child.send_signal(signal.SIGKILL)

    def end(self, limit_s: float) -> dict[str, Any]:
        """What it said last; it is killed past the limit."""
        try:
            self._child.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._child.wait(20)
            self.last = {"ended": "hung"}
        self._reader.join(20)
        assert self._child.stdout is not None
        self._child.stdout.close()
        return self.last


class Soak:
    """Runs rounds in one lab."""

    def __init__(self, lab: Lab, folder: Path, seed: int) -> None:
        self._lab = lab
        self._folder = folder
        self._source = random.Random(seed)
        know_the_phone(lab, folder)
        lab_inventory(lab, folder)
        self._weights = {device: random_weights((TENSOR_VALUES,) * TENSORS, seed) for device in DEVICES.values()}
        self._before: dict[str, str | None] = dict.fromkeys(DEVICES.values())  # the SHA-256 in use
        for device in DEVICES.values():
            lab.link(device, rate=RATE)

    def run(self, one: Round) -> Outcome:
        """What came of the round; the board is as good as before it."""
        device = DEVICES[one.transport]
        outcome = Outcome()
        model, sha256 = self._variant(device, one)
        worker = self._push(device, model, 0.0 if one.kind == "power" else 30.0)
        try:
            self._disturb(one, device, worker, outcome, sha256)
        finally:
            self._mend(device)
        self._look(device, sha256, outcome, "after the cut")
        ended = self._again(device, model, sha256, outcome, worker.end(LIMIT_S))
        found = self._look(device, sha256, outcome, "in the end")
        if ended != "done" or found.get("current") != sha256:
            outcome.wrong.append(f"not in use in the end: {ended}, {found}")
        outcome.resent_bytes = max(0, outcome.had_bytes - outcome.kept_bytes)
        if outcome.resent_bytes >= max(chunk.length for chunk in contents([model])[0].chunks):
            outcome.wrong.append(f"{outcome.resent_bytes} bytes were there and sent again")
        self._before[device] = sha256
        self._tidy(device)
        return outcome

    def _variant(self, device: str, one: Round) -> tuple[Path, str]:
        import hashlib

        import numpy as np

        weights = self._weights[device]
        for number in self._source.sample(range(TENSORS), one.changed):
            weights[number] = weights[number] + np.float32(0.5)
        folder = self._folder / device
        folder.mkdir(exist_ok=True)
        path = save_weights(folder / NAME, weights)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    def _push(self, device: str, model: Path, patience_s: float) -> Worker:
        return Worker(self._lab, self._folder / "devices.yaml", device, model, self._folder, patience_s)

    def _disturb(self, one: Round, device: str, worker: Worker, outcome: Outcome, sha256: str) -> None:
        """The round's trouble, at its point; notes how much of the file the board had then."""
        if one.point < 0:
            time.sleep(self._source.uniform(0, 0.5))
        else:
            worker.wait_for(min(one.point, 1.0), LIMIT_S)
            time.sleep(max(0.0, one.point - 1.0))
        outcome.stage = "after" if worker.last or worker.stored else "before" if worker.share() < 0 else "under way"
        if one.kind in ("cut", "cut-and-kill"):
            self._lab.link(device, up=False)
            time.sleep(0.3)  # what the board's kernel had already is written by then
            if one.kind == "cut-and-kill":
                worker.kill()
            outcome.had_bytes = self._incoming(device, sha256)
            time.sleep(one.outage_s)
        elif one.kind == "power":
            self._lab.power(device, on=False)
            worker.end(LIMIT_S)
            self._lab.power(device, on=True)
            outcome.had_bytes = self._incoming(device, sha256)
        elif one.kind == "kill":
            worker.kill()
            worker.end(LIMIT_S)
            outcome.had_bytes = self._incoming(device, sha256)
        else:
            self._console(device, _FILL, str(one.left_kb))
            worker.end(LIMIT_S)
            outcome.had_bytes = self._incoming(device, sha256)

    def _mend(self, device: str) -> None:
        self._lab.power(device, on=True)
        self._lab.link(device, up=True)
        self._console(device, 'rm -f "$1/.fill"')

    def _again(self, device: str, model: Path, sha256: str, outcome: Outcome, first: Mapping[str, Any]) -> str:
        """How the push ended at last: the first one, if it got over its trouble by itself, or one after it."""
        if first.get("ended") == "hung":
            outcome.wrong.append("the push hung")
        last = first
        if first.get("ended") != "done":
            outcome.had_bytes = outcome.had_bytes or self._incoming(device, sha256)
            last = self._push(device, model, 30.0).end(LIMIT_S)
        outcome.kept_bytes = last.get("kept", 0)
        if (last is first and not first.get("resumes")) or not any(last.get(key) for key in ("kept", "sent", "copied")):
            outcome.had_bytes = 0  # the connection outlived it all, or the file was there already, whole
        return str(last.get("ended")) + (f" ({last.get('message')})" if last.get("message") else "")

    def _look(self, device: str, sha256: str, outcome: Outcome, when: str) -> dict[str, str]:
        """What is visible: all of it must be whole, and in use must be the old model or the new one."""
        found: dict[str, str] = {}
        for line in self._console(device, _LOOK).splitlines():
            kind, path, digest = (*line.split()[:3], "", "")[:3]
            if kind == "stored" and path.split("/")[2] != digest:
                outcome.wrong.append(f"{when}: {path} has the SHA-256 {digest}")
            if kind == "current":
                found["current"] = digest
                if digest not in (sha256, self._before[device]) or digest not in path:
                    outcome.wrong.append(f"{when}: {path} with the SHA-256 {digest} is in use")
        if self._before[device] and "current" not in found:
            outcome.wrong.append(f"{when}: nothing is in use any more")
        return found

    def _incoming(self, device: str, sha256: str) -> int:
        lines = [line.split() for line in self._console(device, _LOOK).splitlines() if line.startswith("incoming ")]
        # A file that was there a moment ago has no size.
        return max((int(words[2]) for words in lines if len(words) == 3 and sha256 in words[1]), default=0)

    def _console(self, device: str, script: str, *words: str) -> str:
        """What a script said on the board's console; $1 is the working folder. As who logs in, but for the disk."""
        folder = "/data/local/tmp/edgewise" if device == "phone" else "/home/edge/.edgewise"
        argv = ["sh", "-c", script, "sh", folder, *words]
        return self._lab.run_in(device, argv, timeout_s=60).stdout

    def _tidy(self, device: str) -> None:
        """Removes all versions but the newest two; the disk is small."""
        script = 'cd "$1/store" && ls -td */*/ | tail -n +3 | while read -r old; do rm -rf "$old"; done'
        self._console(device, script)


def soak(count: int, seed: int, transports: tuple[str, ...], say: Any = print) -> dict[str, Any]:
    """The summary of a whole soak, in a lab of its own."""
    lab = Lab.up(f"soak{os.getpid()}", SPECS, owned=True)
    wrong: list[str] = []
    stages: Counter[str] = Counter()
    most_bytes = kept = 0
    start_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="edgewise-soak-") as folder:
            rounds = Soak(lab, Path(folder), seed)
            for one in draw(count, seed, transports):
                outcome = rounds.run(one)
                stages[f"{one.transport} {one.kind} {outcome.stage}"] += 1
                most_bytes = max(most_bytes, outcome.resent_bytes)
                kept += outcome.kept_bytes > 0
                wrong += [f"round {one.number} ({one.transport}, {one.kind}): {text}" for text in outcome.wrong]
                say(json.dumps({**vars(one), **vars(outcome)}))
    finally:
        lab.down()
    return {
        "rounds": count,
        "seed": seed,
        "wrong": wrong,
        "went_on_from_what_was_there": kept,
        "most_bytes_sent_again": most_bytes,
        "stages": dict(sorted(stages.items())),
        "duration_s": round(time.monotonic() - start_s),
    }


def main() -> int:
    """The exit code: 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.push", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transports", default=",".join(DEVICES))
    arguments = parser.parse_args()
    summary = soak(arguments.count, arguments.seed, tuple(arguments.transports.split(",")))
    print(json.dumps(summary, indent=1))
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
