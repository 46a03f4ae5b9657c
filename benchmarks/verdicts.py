"""How often a verdict is wrong, how often it is found, and how often the interval holds the truth. SIMULATED.

The peers: the test on pooled inferences that benchmark tools make (Mann-Whitney over all of them), and testing again
after every block at the full 5 %. Sequential alternatives that were looked at: other ways to spend the 5 %, and an
e-value (the Bayes factor of the t-test with a normal prior on the effect, an e-process for this group: M. Pérez-Ortiz
and others, "E-statistics, group invariance and anytime-valid testing", Annals of Statistics 52, 2024).
`python -m benchmarks.verdicts [SESSIONS]`: sessions of each world, 200.
"""

from __future__ import annotations

import math
import sys
from statistics import NormalDist

import numpy as np

from benchmarks.table import Line, show
from mobile.compare import sequential
from mobile.compare.exact import doubled_ranks, tails
from mobile.compare.history import change_points
from mobile.compare.interval import blocks_between
from mobile.compare.sequential import Looks
from mobile.compare.units import Group, side_of
from mobile.compare.until import until
from mobile.compare.verdict import Comparison, compare
from mobile.results.steady import steady_of
from tests.support.run_simulator import P50, WORLDS, World, ar1, session

DIFFERENT = ("faster", "slower")
MOST_BLOCKS = 15
MARGIN = P50.margin
INTERVALS = 20
SHARPER = 5  # times the sessions where a single line has a goal: of 1,000, the standard error of 95 % is 0.7 %


def pooled_p(durations: np.ndarray, sides: list[int]) -> float:
    """The two-sided p-value of Mann-Whitney over all inferences, by the normal distribution."""
    chosen = np.asarray(sides) == 1
    ranks = doubled_ranks(np.concatenate([durations[chosen].ravel(), durations[~chosen].ravel()])) / 2
    m, n = durations[chosen].size, durations[~chosen].size
    u = ranks[:m].sum() - m * (m + 1) / 2
    return 2 * NormalDist().cdf(-abs(u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12))


def fixed(rng: np.random.Generator, world: World, runs: int, effect: float, blocked: bool, sessions: int) -> dict:
    """Shares over sessions of a fixed number of runs."""
    found: list[Comparison] = []
    pooled = 0
    for _ in range(sessions):
        a, b, durations, sides = session(rng, world, runs, effect, blocked=blocked)
        found += compare([a, b], P50)
        pooled += pooled_p(durations, sides) <= P50.alpha
    truth = 1 + effect
    return {
        "different": float(np.mean([one.verdict in DIFFERENT for one in found])),
        "equivalent": float(np.mean([one.verdict == "equivalent" for one in found])),
        "covered": float(np.mean([(one.low or 0) <= truth <= (one.high or 9) for one in found])),
        "pooled": pooled / sessions,
    }


def nothing_changed(rng: np.random.Generator, sessions: int) -> list[Line]:
    """False verdicts and coverage, world by world, where nothing changed."""
    lines = []
    everything = []
    for world in WORLDS:
        blocked = bool(world.drift or world.session_phi)
        for runs in (6, 10):
            one = fixed(rng, world, runs, 0.0, blocked, SHARPER * sessions)
            everything.append(one)
            words = f"{world.name}, {runs} runs{' in turns' if blocked else ''}: false verdicts"
            lines.append(
                Line(words, f"{one['different']:.1%}", f"{one['pooled']:.0%} (pooled inferences)",
                     one["different"] / 0.05, "<= 1 (5 %)")
            )  # fmt: skip
            words = f"{world.name}, {runs} runs: interval holds the truth"
            lines.append(Line(words, f"{one['covered']:.1%}", "95 %", one["covered"] / 0.95, "0.98 to 1.02"))
    for key, words, against in (
        ("different", "all worlds: false verdicts", 0.05),
        ("covered", "all worlds: interval holds the truth", 0.95),
    ):
        mean = float(np.mean([one[key] for one in everything]))
        lines.append(Line(words, f"{mean:.2%}", f"{against:.0%}", mean / against, "see above"))
    return lines


def power(rng: np.random.Generator, sessions: int) -> list[Line]:
    """3 % at a CV of 2 % with 10 runs."""
    lines = []
    for blocked in (False, True):
        one = fixed(rng, World("", cv=0.02, within=0.005), 10, 0.03, blocked, 2 * SHARPER * sessions)
        words = f"3 % at a CV of 2 %, 10 runs{', in turns' if blocked else ''}: seen"
        lines.append(Line(words, f"{one['different']:.1%}", "85 % (limit)", one["different"] / 0.85, ">= 1"))
    return lines


def equivalence(rng: np.random.Generator, sessions: int) -> list[Line]:
    """Equivalence where the truth lies at the margin, beyond it, and at nothing."""
    world, lines = World("", cv=0.005, within=0.005), []
    for effect, goal in ((MARGIN, "<= 1"), (1.5 * MARGIN, "0"), (-MARGIN / (1 + MARGIN), "<= 1"), (0.0, "large")):
        one = fixed(rng, world, 10, effect, False, 2 * sessions)
        words = f"margin 2 %, truth {effect:+.1%}, CV 0.5 %: called equivalent"
        lines.append(Line(words, f"{one['equivalent']:.1%}", "5 % (limit)", one["equivalent"] / 0.05, goal))
    return lines


def naive(blocks: list, most: int) -> bool:
    """True when testing after every block at the full alpha finds a difference."""
    return any(tails(blocks[:look]).two_sided <= P50.alpha for look in range(3, most + 1))


def until_decided(rng: np.random.Generator, sessions: int) -> list[Line]:
    """The verdicts of `--until-decided` with up to 30 runs of each side."""
    lines = []
    everything = 0
    for world in WORLDS:
        wrong = peer = 0
        for _ in range(sessions):
            a, b, _, _ = session(rng, world, 2 * MOST_BLOCKS, 0.0)
            blocks = blocks_between(*(side_of(group, _places(group)) for group in (a, b)))
            found = Looks(blocks, MOST_BLOCKS, draws=4000, seed=int(rng.integers(2**31))).crossing()
            wrong += found.above is not None or found.below is not None
            peer += naive(blocks, MOST_BLOCKS)
        words = f"{world.name}, looks from 6 to 30 runs: false verdicts"
        against = f"{peer / sessions:.0%} (5 % at every look)"
        lines.append(Line(words, f"{wrong / sessions:.1%}", against, wrong / sessions / 0.05, "<= 1 (5 %)"))
        everything += wrong
    mean = everything / sessions / len(WORLDS)
    lines.append(Line("all worlds: false verdicts", f"{mean:.2%}", "5 %", mean / 0.05, "<= 1"))
    return lines


def _places(group: Group) -> list[int]:
    return [int(unit.mark["block"]) for unit in group.units]


def ends(rng: np.random.Generator, sessions: int) -> list[Line]:
    """What `--until-decided` ends with: verdict, runs, and (of some sessions, it takes long) the interval."""
    lines = []
    world = World("", cv=0.02, within=0.005)
    for effect, right in ((0.03, "slower"), (0.05, "slower"), (0.0, "equivalent"), (MARGIN, "slower")):
        verdicts, runs, held = [], [], []
        for number in range(sessions):
            a, b, _, _ = session(rng, world, 2 * MOST_BLOCKS, effect)
            blocks = blocks_between(*(side_of(group, _places(group)) for group in (a, b)))
            verdict, look = _end(Looks(blocks, MOST_BLOCKS, draws=3000, seed=int(rng.integers(2**31))))
            verdicts.append(verdict)
            runs.append(2 * look)
            if number < INTERVALS:
                parts = [Group(group.name, tuple(u for u in group.units if u.mark["block"] < look)) for group in (a, b)]
                one = until(*parts, P50, MOST_BLOCKS)
                held.append((one.low or 0) <= 1 + effect <= (one.high or 9))
        share = float(np.mean([verdict == right for verdict in verdicts]))
        words = f"truth {effect:+.1%} at a CV of 2 %: ends as {right} after {np.mean(runs):.1f} runs (mean)"
        lines.append(Line(words, f"{share:.0%}", f"interval holds in {sum(held)} of {len(held)}", share, "shown"))
        if effect >= MARGIN:
            wrong = float(np.mean([verdict == "equivalent" for verdict in verdicts]))
            words = f"truth {effect:+.1%}: called equivalent"
            lines.append(Line(words, f"{wrong:.1%}", "5 % (limit)", wrong / 0.05, "<= 1"))
    return lines


def _end(looks: Looks) -> tuple[str, int]:
    """(verdict, look) at which the command would stop: it decides at each look by what was crossed until then."""
    plain, margin = looks.crossing(), math.log1p(MARGIN)
    never = MOST_BLOCKS + 1
    slower, faster = plain.above or never, plain.below or never
    alike = max(looks.crossing(margin).below or never, looks.crossing(-margin).above or never)
    look = min(slower, faster, alike)
    if look == never:
        return "undecided", MOST_BLOCKS
    return ("equivalent" if alike == look else "slower" if slower == look else "faster"), look


def ways_to_look(rng: np.random.Generator, sessions: int) -> list[Line]:
    """Other ways to stop, for 3 % at a CV of 2 %: blocks until it is seen, of 15."""
    chosen, e_value = sequential.SPENDING_POWER, "e-value above 20"
    ways: dict[str, list[int]] = {
        f"alpha spent with the blocks to the power of {power}": [] for power in (1.0, 1.5, 2.0, 3.0)
    }
    ways[e_value] = []
    world = World("", cv=0.02, within=0.005, drift=0.05)
    for _ in range(sessions):
        a, b, _, _ = session(rng, world, 2 * MOST_BLOCKS, 0.03)
        blocks = blocks_between(*(side_of(group, _places(group)) for group in (a, b)))
        looks = Looks(blocks, MOST_BLOCKS, draws=2000, seed=int(rng.integers(2**31)))
        for name in ways:
            if name.startswith("alpha"):
                sequential.SPENDING_POWER = float(name.split()[-1])
                ways[name].append(looks.crossing().above or MOST_BLOCKS + 1)
        ways[e_value].append(_e_value(np.array([x.b.mean() - x.a.mean() for x in blocks])))
    sequential.SPENDING_POWER = chosen
    best = np.mean(np.minimum(ways[f"alpha spent with the blocks to the power of {chosen}"], MOST_BLOCKS))
    rows = [
        (name, float(np.mean(np.array(seen) <= MOST_BLOCKS)), float(np.mean(np.minimum(seen, MOST_BLOCKS))))
        for name, seen in ways.items()
    ]
    return [
        Line(
            f"{name}: seen in {share:.0%}",
            f"{blocks:.1f} blocks",
            f"{best:.1f} (the way taken)",
            blocks / best,
            "shown",
        )
        for name, share, blocks in rows
    ]


def _e_value(differences: np.ndarray, prior: float = 4.0) -> int:
    """The number of blocks after which the Bayes factor of the t-test (effect ~ N(0, prior)) is above 20."""
    for count in range(2, len(differences) + 1):
        part = differences[:count]
        square = part.mean() ** 2 * count / part.var(ddof=1)
        grown = 1 + count * prior
        factor = grown**-0.5 * ((1 + square / (count - 1)) / (1 + square / ((count - 1) * grown))) ** (count / 2)
        if factor >= 20:
            return count
    return MOST_BLOCKS + 1


def over_time(rng: np.random.Generator, sessions: int) -> list[Line]:
    """History: changes that are none, and those that are; and the steady state of single runs."""
    flat = np.mean([bool(change_points(0.02 * rng.standard_normal(30))) for _ in range(4 * sessions)])
    steps = [0.02 * rng.standard_normal(30) + 0.05 * (np.arange(30) >= 18) for _ in range(sessions)]
    near = np.mean([any(abs(place - 18) <= 2 for place in change_points(step)) for step in steps])
    lines = [
        Line("history of 30 runs, no change: one shown", f"{flat:.1%}", "5 % (limit)", flat / 0.05, "<= 1.1"),
        Line("the same, 5 % at a CV of 2 %: found within 2 runs", f"{near:.0%}", "90 %", near / 0.9, ">= 1"),
    ]
    for phi in (0.0, 0.7, 0.9):
        noise = 0.03 * ar1(rng, (sessions, 500), phi)
        late = [steady_of(0.01 * np.exp(row + 0.3 * (np.arange(500) > 350))).first is None for row in noise]
        warm = [
            0.25 < (steady_of(0.01 * np.exp(row + 0.3 * (np.arange(500) < 150))).first or 0) / 500 < 0.5
            for row in noise
        ]
        calm = [steady_of(0.01 * np.exp(row)).first is not None for row in noise]
        for words, share in (
            ("steady run called steady", calm),
            ("warm-up of 30 % found", warm),
            ("slower at last: refused", late),
        ):
            value = float(np.mean(share))
            lines.append(Line(f"inferences AR {phi:g}, CV 3 %: {words}", f"{value:.0%}", "95 %", value / 0.95, ">= 1"))
    return lines


def main() -> None:
    """Prints the tables."""
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = np.random.default_rng(7)
    for title, part in (
        ("Verdicts where nothing changed", nothing_changed),
        ("Power", power),
        ("Equivalence", equivalence),
        ("Until decided, where nothing changed", until_decided),
        ("Until decided, as the command does it", ends),
        ("Ways to look again and again, 3 % at a CV of 2 % with drift", ways_to_look),
        ("Over time", over_time),
    ):
        show(f"{title}, SIMULATED", part(rng, sessions))


if __name__ == "__main__":
    main()
