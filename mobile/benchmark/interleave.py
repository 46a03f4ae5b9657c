"""Variants measured in turns: blocks in which each has two launches, in an order drawn by lot.

What drifts between blocks (heat, load) then meets all variants alike, and the lot is what makes the test exact
(mobile/compare/sequential.py). Every launch goes through the same gate, and is stored like any other run.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobile.benchmark.device_work import DeviceWork, Numbered, Slot, Terms
from mobile.benchmark.fleet import side_by_side
from mobile.benchmark.models import Model
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.orchestrate import OnProgress, Request
from mobile.benchmark.outcomes import Progress
from mobile.compare.units import MARK
from mobile.errors import UsageError
from mobile.results.run import Run
from mobile.results.started import StartedRuns, content_of

if TYPE_CHECKING:
    import random

    from mobile.inventory import Device

PER_BLOCK = 2  # launches of each variant
FIXED_RUNS, MOST_RUNS = 10, 30
FEWEST_RUNS = 4

# The runs of each variant up to now -> True when no more are needed.
Enough = Callable[[Sequence[Sequence[Run]]], bool]


@dataclass(frozen=True)
class Turns:
    """``runs`` of each variant at most; ``budget_s``: no block begins that would likely end later.

    ``enough`` is asked after every block; None: all the runs are measured. ``seed`` of the order; None: by chance.
    """

    runs: int = FIXED_RUNS
    budget_s: float | None = None
    enough: Enough | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names the option."""
        if not FEWEST_RUNS <= self.runs <= 1000:
            raise UsageError(
                f"--runs is {self.runs}, expected {FEWEST_RUNS} to 1000", "Of fewer runs no test can tell a difference."
            )
        if self.budget_s is not None and not 0.0 < self.budget_s <= 30 * 86_400.0:
            raise UsageError(f"--budget is {self.budget_s:g} s, expected more than 0 and at most 30 days")

    @property
    def blocks(self) -> int:
        """How many blocks there are at most."""
        return math.ceil(self.runs / PER_BLOCK)


@dataclass(frozen=True)
class Variant:
    """One of the things that are compared."""

    name: str
    model: Model
    options: BenchOptions


def variants_of(request: Request) -> list[Variant]:
    """Every model with every combination of options. UsageError for a damaged model, or when there is only one."""
    for name, error in request.damaged:
        raise UsageError(f"{name}: {error.message}", error.hint)
    if request.options.repeat > 1:
        raise UsageError("--repeat does not go with --compare", "--runs N says how many launches each variant has.")
    if request.manner.detach or request.manner.resume:
        raise UsageError("--compare goes with neither --detach nor --resume", "Leave them out.")
    found: list[Variant] = []
    for model in request.models:
        for options in request.options.expand():
            name = _name(model, options, request.options)
            same = sum(other.name == name or other.name.startswith(f"{name} #") for other in found)
            found.append(Variant(f"{name} #{same + 1}" if same else name, model, options))
    if len(found) < 2:
        raise UsageError("--compare needs two variants or more", "Give two files, or a list: --threads 1,2.")
    return found


def _name(model: Model, options: BenchOptions, asked: BenchOptions) -> str:
    words = [model.ref.name]
    for option in ("threads", "provider", "batch"):
        if len(getattr(asked, option)) > 1:
            words.append(f"{option} {getattr(options, option)[0]}")
    return ", ".join(words)


@dataclass
class InTurns:
    """A checked request, measured in turns on each of its devices. After ``outcomes``: ``runs``, ``stopped``."""

    request: Request
    turns: Turns
    variants: list[Variant] = field(init=False)
    orders: dict[str, _Order] = field(init=False)
    finished: dict[int, Run] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing, or UsageError when there is nothing to compare."""
        self.variants = variants_of(self.request)
        self.orders = {device.name: _Order(device, place, self) for place, device in enumerate(self.request.devices)}

    @property
    def total(self) -> int:
        """How many runs there are at most."""
        return len(self.request.devices) * len(self.variants) * PER_BLOCK * self.turns.blocks

    def runs(self, device: str) -> list[list[Run]]:
        """The runs of each variant on a device, in the order measured, also when the device went away after them."""
        return self.orders[device].by_variant(self.finished)

    def stopped(self, device: str) -> str:
        """Why there were no more: "decided", "runs", "budget", or "failed"."""
        return self.orders[device].stopped

    def outcomes(self, on_progress: OnProgress | None = None) -> Generator[Numbered, None, None]:
        """(number, outcome) as they come, of all devices."""
        request = self.request
        started = StartedRuns(request.store)
        asked = started.new_request(content_of({"turns": secrets.token_hex(8)}), self.total)
        terms = Terms(request.store, started, asked, self.total, request.manner)
        work = {
            device.name: DeviceWork(device, order.block(), terms, order.more).run
            for device, order in zip(request.devices, self.orders.values(), strict=True)
        }
        with contextlib.closing(side_by_side(work)) as told:
            for item in told:
                if not isinstance(item, Progress):
                    number, outcome = item
                    if isinstance(outcome, Run):
                        self.finished[number] = outcome
                    yield number, outcome
                elif on_progress is not None:
                    on_progress(item)


class _Order:
    """The blocks of one device."""

    def __init__(self, device: Device, place: int, owner: InTurns) -> None:
        import random

        self._device = device
        self._owner = owner
        self._first = place * len(owner.variants) * PER_BLOCK * owner.turns.blocks
        self._id = secrets.token_hex(6)
        self._done = 0
        self._began = time.monotonic()
        self._lot: random.Random = random.Random(owner.turns.seed)  # noqa: S311 - an order, no secret
        self._places: dict[int, int] = {}  # variant by the number of its slot
        self.stopped = "failed"

    def block(self) -> list[Slot]:
        """The slots of the next block."""
        places = [place for place in range(len(self._owner.variants)) for _ in range(PER_BLOCK)]
        self._lot.shuffle(places)
        if not self._done:
            self._began = time.monotonic()
        slots = [self._slot(place, turn) for turn, place in enumerate(places)]
        self._done += 1
        return slots

    def _slot(self, place: int, turn: int) -> Slot:
        variant = self._owner.variants[place]
        number = self._first + self._done * len(self._owner.variants) * PER_BLOCK + turn
        self._places[number] = place
        mark: Mapping[str, Any] = {"id": self._id, "variant": variant.name, "block": self._done, "turn": turn}
        return Slot(number, variant.model, variant.options, {**self._owner.request.manner.remarks, MARK: dict(mark)})

    def by_variant(self, runs: Mapping[int, Run]) -> list[list[Run]]:
        """Those of the runs (by the numbers of their slots) that are this device's, for each variant."""
        found: list[list[Run]] = [[] for _ in self._owner.variants]
        for number, run in sorted(runs.items()):
            if number in self._places:
                found[self._places[number]].append(run)
        return found

    def more(self, finished: list[tuple[Slot, Run]]) -> list[Slot]:
        """The next block, or [] with ``stopped`` set."""
        runs = self.by_variant({slot.number: run for slot, run in finished})
        turns = self._owner.turns
        spent_s = time.monotonic() - self._began
        if not all(runs):  # a variant that could not be run twice will not run the third time
            self.stopped = "failed"
        elif turns.enough is not None and turns.enough(runs):
            self.stopped = "decided"
        elif self._done >= turns.blocks:
            self.stopped = "runs"
        elif turns.budget_s is not None and spent_s * (self._done + 1) / self._done > turns.budget_s:
            self.stopped = "budget"
        else:
            return self.block()
        return []
