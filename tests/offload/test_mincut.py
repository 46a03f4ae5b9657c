"""The minimum cut and the envelope against every placement there is."""

from __future__ import annotations

import numpy as np
import pytest

from offload.plan.compiled import Compiled
from offload.plan.envelope import Envelope, envelope, lower_envelope
from offload.plan.mincut import CutSolver
from offload.plan.problem import (
    DEVICE,
    Line,
    Problem,
    ProblemError,
    Tensor,
    Way,
    all_on_device,
    describe,
    is_monotone,
    line_of,
)
from tests.offload.random_problems import cheapest, every_placement, random_problem

BANDWIDTHS_X = (0.001, 0.1, 1.0, 30.0)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["monotone", "bidirectional"])
@pytest.mark.parametrize("seed", range(4))
def test_the_cut_is_the_cheapest_of_all_placements(seed: int, bidirectional: bool) -> None:
    rng = np.random.default_rng(seed)
    solved = 0
    for _ in range(250):
        problem = random_problem(rng, pieces=int(rng.integers(2, 7)))
        x = float(rng.choice(BANDWIDTHS_X))
        want = cheapest(problem, x, bidirectional=bidirectional)
        if want == float("inf"):
            with pytest.raises(ProblemError, match="no placement keeps every pin"):
                CutSolver(problem, bidirectional=bidirectional).best(x)
            continue
        line = CutSolver(problem, bidirectional=bidirectional).best(x)
        assert line.at(x) == pytest.approx(want, rel=1e-9, abs=1e-9)
        assert bidirectional or is_monotone(problem, line.sides)
        solved += 1
    assert solved > 200


def test_a_piece_that_is_faster_on_the_device_does_not_lead_back_for_nothing() -> None:
    """Without the edges from consumer to producer the cut would put 0 on the server and 1 on the device, unpaid."""
    ways = (Way("raw", 0.0, 1.0),)
    problem = Problem(
        device=np.array([10.0, 1.0, 10.0]),
        server=np.array([1.0, 10.0, 1.0]),
        tensors=(
            Tensor("in", DEVICE, (0,), ways),
            Tensor("a", 0, (1,), ways),
            Tensor("b", 1, (2,), ways),
            Tensor("out", 2, (), ways, ways, needed_on_device=True),
        ),
    )
    line = CutSolver(problem).best(1.0)
    assert is_monotone(problem, line.sides)
    assert line.at(1.0) == pytest.approx(13.0)  # 1 up, 12 on the server; 10 + 1 + 1 + 1 with the last piece there


def test_a_tensor_of_two_consumers_is_paid_for_once() -> None:
    ways = (Way("raw", 0.0, 4.0),)
    problem = Problem(
        device=np.array([1.0, 50.0, 50.0]),
        server=np.array([100.0, 1.0, 1.0]),
        tensors=(Tensor("in", DEVICE, (0,), ways), Tensor("a", 0, (1, 2), ways)),
    )
    assert CutSolver(problem).best(1.0).at(1.0) == pytest.approx(1 + 4 + 2)


def test_the_cheapest_codec_depends_on_the_bandwidth() -> None:
    ways = (Way("raw", 0.0, 8.0), Way("q8", 1.0, 2.0))
    problem = Problem(np.array([100.0]), np.array([0.0]), (Tensor("in", DEVICE, (0,), ways),))
    fast, slow = CutSolver(problem).best(0.01), CutSolver(problem).best(10.0)
    assert [describe(problem, line)["up"][0]["codec"] for line in (fast, slow)] == ["raw", "q8"]
    assert (fast.at(0.01), slow.at(10.0)) == (pytest.approx(0.08), pytest.approx(21.0))


def test_a_request_is_paid_once_and_everything_stays_where_that_is_no_dearer() -> None:
    problem = Problem(
        np.array([5.0, 5.0]), np.array([1.0, 1.0]),
        (Tensor("in", DEVICE, (0,), (Way("raw", 0.0, 1.0),)), Tensor("a", 0, (1,), (Way("raw", 0.0, 1.0),))),
        request=7.0,
    )  # fmt: skip
    assert CutSolver(problem).best(0.0).at(0.0) == pytest.approx(9.0)
    assert not CutSolver(problem).best(1.0).sides.any()  # 10 either way: nothing leaves the device for nothing
    local = all_on_device(problem)
    assert local is not None
    assert local.at(123.0) == 10.0


def test_arrays_and_the_plain_reckoning_agree() -> None:
    rng = np.random.default_rng(11)
    for _ in range(60):
        problem = random_problem(rng, pieces=4)
        compiled = Compiled(problem)
        for sides in every_placement(problem):
            want, have = line_of(problem, sides, 0.7), compiled.line(sides, 0.7)
            assert (want is None) == (have is None)
            if want is not None and have is not None:
                assert (have.fixed, have.slope) == (pytest.approx(want.fixed), pytest.approx(want.slope))
                assert sorted(have.crossings, key=str) == sorted(want.crossings, key=str)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["monotone", "bidirectional"])
def test_the_envelope_is_the_best_at_every_bandwidth(bidirectional: bool) -> None:
    rng = np.random.default_rng(5)
    pieces = 0
    for _ in range(60):
        problem = random_problem(rng, pieces=int(rng.integers(2, 8)))
        try:
            found = envelope(problem, 0.01, 1000.0, bidirectional=bidirectional)
        except ProblemError:
            continue
        _is_well_formed(found)
        pieces = max(pieces, len(found.lines))
        solver = CutSolver(problem, bidirectional=bidirectional)
        for x in np.geomspace(1 / 1000, 100, 23):
            assert found.at(float(x)).at(float(x)) == pytest.approx(solver.best(float(x)).at(float(x)), rel=1e-8)
    assert pieces > 3  # some of them have corners


def _is_well_formed(found: Envelope) -> None:
    assert len(found.bounds) == len(found.lines) + 1
    assert list(found.bounds) == sorted(found.bounds)
    slopes = [line.slope for line in found.lines]
    assert slopes == sorted(set(slopes), reverse=True)
    for x, left, right in zip(found.bounds[1:], found.lines, found.lines[1:], strict=False):
        assert left.at(x) == pytest.approx(right.at(x))


def test_the_envelope_of_lines_that_are_known() -> None:
    lines = [Line(float(k * k), 2.0 * (9 - k), np.zeros(1, dtype=bool)) for k in range(10)]
    found = lower_envelope(lambda x: min(lines, key=lambda line: (line.at(x), line.slope)), 0.0, 20.0)
    assert [line.fixed for line in found.lines] == [float(k * k) for k in range(10)]
    assert found.bounds == pytest.approx((0.0, *(k + 0.5 for k in range(9)), 20.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": np.array([1.0, float("nan")])}, "device: 2 finite costs"),
        ({"server": np.array([1.0])}, "server: 2 finite costs"),
        ({"on_device": frozenset({0}), "on_server": frozenset({0})}, "piece 0 is pinned to both sides"),
        ({"on_device": frozenset({7})}, "piece 7 is pinned, but there are 2"),
        ({"tensors": (Tensor("a", 1, (0,)),)}, "tensor a: its consumer 0 does not come after its producer"),
        ({"tensors": (Tensor("a", 4, ()),)}, "tensor a: its producer 4 does not exist"),
        ({"tensors": (Tensor("a", 0, (1,), (Way("q8", -1.0, 1.0),)),)}, "tensor a: codec q8 has a negative cost"),
    ],
)
def test_a_problem_that_contradicts_itself_is_refused(change: dict[str, object], words: str) -> None:
    fields: dict[str, object] = {"device": np.ones(2), "server": np.ones(2), "tensors": ()}
    with pytest.raises(ProblemError, match=words):
        Problem(**{**fields, **change})  # type: ignore[arg-type]
