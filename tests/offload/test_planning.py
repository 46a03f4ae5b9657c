"""From a model and what it costs to a package that was proven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_agents.split.package import read
from device_agents.split.table import Conditions
from mobile.errors import ExportError, InputError
from offload.costs.profile import Profile
from offload.plan.costs import Link, Power, latency_problem, price
from offload.plan.mincut import CutSolver
from offload.planning import Planner, Request, placements_of
from tests.support.split_packages import EXAMPLE
from tests.support.split_profiles import made_up

MODEL = EXAMPLE / "fashion_mnist.onnx"
CALIBRATION = EXAMPLE / "fashion_mnist_calibration_200.npz"


def request(**more: object) -> Request:
    """The example on a device that takes 40 ms and a server that takes 2, at 2 Mbit/s and 5 ms."""
    base = Request(
        MODEL,
        made_up(MODEL, "board", 0.04, 1),
        made_up(MODEL, "edge", 0.002, 2),
        Link(2e6, 4e6, 0.005),
        power=Power(4.0, 1.5, send_beta_w=0.5),
        calibration=CALIBRATION,
        scale={"image": 1 / 255},
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_the_plan_is_the_minimum_cut_and_the_table_says_the_same() -> None:
    planner = Planner(request())
    plan = planner.plan()
    x = 1 / plan.request.link.uplink_bps
    best = CutSolver(latency_problem(plan.costs, plan.request.link)).best(x)
    assert plan.found[0].price.latency_s == pytest.approx(best.at(x))
    assert {"device", "server"} <= {candidate.label for candidate in plan.found}
    assert plan.id_of(plan.found[0]) in plan.lines
    assert plan.changes


def test_a_split_is_planned_when_it_is_wanted_even_where_none_is_best() -> None:
    slow = request(server=made_up(MODEL, "edge", 400.0, 2))
    assert {candidate.label for candidate in Planner(slow).plan().found} == {"device", "server"}
    plan = Planner(replace(slow, with_split=True)).plan()
    (split,) = [candidate for candidate in plan.found if candidate.label == "split"]
    assert plan.id_of(split) in plan.lines
    assert plan.found[0].label == "device"
    names = [piece.name for piece in plan.source.graph.pieces]
    # Of the cuts there are, it is the one that leaves the slow server least to do.
    assert list(split.line.sides).count(True) < len(names) // 2
    pinned = Planner(replace(slow, with_split=True, pinned=(names[-1],))).plan()
    assert not any(candidate.line.sides[-1] for candidate in pinned.found)


def test_a_package_is_proven_and_its_table_predicts_what_the_planner_prices(tmp_path: Path) -> None:
    package, plan, evidence = Planner(request()).package(tmp_path / "net.split")
    assert read(package.path).id == package.id
    assert {one.placement for one in evidence} == set(package.placements)
    assert all(one.equivalent and one.top1_agreement >= 0.99 for one in evidence)
    assert package.table is not None
    link = plan.request.link
    now = Conditions(link.uplink_bps, link.downlink_bps, link.rtt_s)
    for name, line in plan.lines.items():
        want = price(plan.costs, line, link, plan.request.power)
        row = package.table.placements[name]
        assert row.latency_s(now) == pytest.approx(want.latency_s)
        assert package.table.power is not None
        assert row.energy_j(now, package.table.power) == pytest.approx(want.energy_j)
    assert [row.id for row in placements_of(plan)] == list(package.placements)


def test_a_codec_that_changes_the_answers_is_left_out(tmp_path: Path) -> None:
    """With nothing but two bits to choose from, all that is left is what crosses uncoded."""
    strict = request(codecs=("raw", "q2+zlib"), min_agreement=1.0)
    loose = request(codecs=("raw", "q2+zlib"), min_agreement=0.0)
    kept = [Planner(one).package(tmp_path / f"{n}.split")[2] for n, one in enumerate((strict, loose))]
    assert min(one.top1_agreement for one in kept[0]) == 1.0
    assert min(one.top1_agreement for one in kept[1]) < 1.0


def test_the_raw_input_can_be_kept_on_the_device() -> None:
    planner = Planner(request(keep_input=True, device=made_up(MODEL, "board", 9.0)))
    plan = planner.plan()
    for line in plan.lines.values():
        for crossing in line.crossings:
            assert plan.costs.values[crossing.tensor].name not in planner.graph.inputs
    assert any(line.sides.any() for line in plan.lines.values())


def test_named_pieces_stay_on_the_device() -> None:
    planner = Planner(request())
    last = planner.graph.pieces[-1].name
    plan = Planner(request(pinned=(last,), bidirectional=True)).plan()
    assert all(not line.sides[-1] for line in plan.lines.values())
    with pytest.raises(InputError, match="no piece is called 'ghost'"):
        Planner(request(pinned=("ghost",))).plan()


def test_generated_inputs_are_said_to_be(tmp_path: Path) -> None:
    plan = Planner(request(calibration=None)).plan()
    assert "generated inputs" in plan.notes[0]


def test_a_profile_of_another_model_is_refused() -> None:
    other: Profile = replace(made_up(MODEL, "board", 1.0), model_sha256="0" * 64)
    with pytest.raises(InputError, match=r"board|another"):
        Planner(request(device=other))


def test_a_budget_that_nothing_meets_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"even uncoded|often enough"):
        Planner(request(min_agreement=1.1)).package(tmp_path / "net.split")
    assert not (tmp_path / "net.split").exists()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(Exception, match=r"model\.onnx"):
        Planner(request(model=path))
