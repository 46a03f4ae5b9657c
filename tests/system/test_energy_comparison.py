"""Joules compared on boards whose truth is known: the real agent, simulated physics, the commands of a user."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mobile.results.store import RunStore
from tests.soak.energy import measure
from tests.support.cli import edgewise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc"),
]
RUNS = 5
CORES = {"before": 2.0, "after": 2.8, "again": 2.0}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(store, true joules of an inference by label): five runs of each load, mixed in time."""
    folder = tmp_path_factory.mktemp("boards")
    orders = [(label, number) for number in range(RUNS) for label in CORES]

    def one(order):
        label, number = order
        found = measure(
            folder / f"{label}{number}", "orin-nano", 11 + number, 2.5, ((0.0, CORES[label]),), sample_period_s=0.05
        )
        found.run.environment["label"] = label
        return label, found

    store, truth = RunStore(folder / "runs.sqlite3"), {label: [] for label in CORES}
    with ThreadPoolExecutor(3) as pool:
        for place, (label, found) in enumerate(pool.map(one, orders)):
            run = found.run
            run.created_utc = f"2026-01-02T03:{place:02d}:05Z"
            run.spec = replace(run.spec, device="board")
            store.add(run)
            truth[label].append(found.true_j / found.figures["invocations"])
    return store, {label: sorted(values)[len(values) // 2] for label, values in truth.items()}


def compared(store, folder, *selectors):
    done = edgewise(
        "--store", store.path, "compare", *selectors, "--metric", "energy", "--include-invalid", "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["comparisons"]
    return found


def test_more_joules_are_seen_and_the_interval_holds_the_truth(measured, tmp_path):
    store, truth = measured
    found = compared(store, tmp_path, "label=before", "label=after")
    assert found["verdict"] == "more"
    assert found["low"] <= truth["after"] / truth["before"] <= found["high"]
    assert found["low"] > 1.05


def test_the_same_load_twice_is_no_difference(measured, tmp_path):
    store, truth = measured
    found = compared(store, tmp_path, "label=before", "label=again")
    assert found["verdict"] in ("equivalent", "undecided")
    assert found["low"] <= truth["again"] / truth["before"] <= found["high"]


def test_joules_of_another_scope_are_refused(measured, tmp_path):
    store, _ = measured
    other = measure(tmp_path / "pi", "x86", 3, 2.5, ((0.0, 2.0),)).run
    other.environment["label"] = "x86"
    other.spec = replace(other.spec, device="board")
    store.add(other)
    done = edgewise(
        "--store", store.path, "compare", "label=before", "label=x86", "--metric", "energy", "--include-invalid",
        "--allow", "board", "--allow", "governor", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "energy_scope" in done.stderr


def test_a_run_is_found_in_the_log_of_a_logger_with_another_clock(tmp_path):
    """The real agent plays the marker; the log is the true power, read each 50 ms on a clock that is 1234.5 s ahead."""
    found = measure(tmp_path / "board", "orin-nano", 5, 3.0, sample_period_s=0.05, conditions={"marker_s": 0.4})
    marks = [event["detail"] for event in found.run.events if event["name"] == "marker"]
    assert [mark["when"] for mark in marks] == ["before", "after"]
    sensor = found.figures["energy"]["sensor"]
    step_ns, (first, last) = 50_000_000, (marks[0]["start_ns"], marks[1]["start_ns"] + round(31 * 0.4e9))
    rows = ["t_s,power_w"]
    for start_ns in range(first - 500_000_000, last + 500_000_000, step_ns):
        watts = found.truth.energy_j(sensor, start_ns, start_ns + step_ns) / step_ns * 1e9
        rows.append(f"{(start_ns + step_ns / 2) / 1e9 + 1234.5:.6f},{watts:.4f}")
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    store = RunStore(tmp_path / "runs.sqlite3")
    store.add(found.run)
    done = edgewise(
        "--store", store.path, "report", "last", "--power-log", tmp_path / "log.csv", "--power-scope", "board input",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figure = json.loads(done.stdout)["runs"][0]["energy"]
    assert figure["sensor"] == "power.meter.log"
    assert figure["alignment"]["by"] == "marker", figure["alignment"]
    # The simulated power follows the CPU time of the processes, which is looked at every 0.05 s and later on a busy
    # machine: that lag is found as a part of the offset, and moves the window by as much.
    lag_s = figure["alignment"]["offset_s"] - 1234.5
    assert -0.05 <= lag_s <= 0.3
    swing_w = max(float(row.split(",")[1]) for row in rows[1:]) - min(float(row.split(",")[1]) for row in rows[1:])
    assert abs(figure["total_j"] - found.true_j) <= figure["uncertainty_j"] + abs(lag_s) * swing_w
