"""Progress on stderr: lines where it is no terminal, a table of the devices where it is one."""

from __future__ import annotations

import io

import pytest

from mobile.benchmark import Progress
from mobile.cli import progress as shown
from mobile.cli.progress import BenchProgress

HELLO = {"sensors": [{"name": "cpu", "quantity": "temperature"}, {"name": "gpu", "quantity": "temperature"},
                     {"name": "power.rail", "quantity": "power"},
                     {"name": "frequency.policy0", "quantity": "frequency"}]}  # fmt: skip


@pytest.fixture
def text(monkeypatch):
    from rich.console import Console

    def console(terminal):
        file = io.StringIO()
        made = Console(file=file, force_terminal=terminal, width=120, highlight=False, emoji=False)
        monkeypatch.setattr(shown, "stderr_console", lambda: made)
        return file

    return console


def tell(progress, device, index, state, **detail):
    progress.update(Progress(device, "m.onnx", index, 4, state, detail))


def test_lines_are_written_once_for_each_change_also_when_devices_take_turns(text):
    file = text(False)
    with BenchProgress() as progress:
        for _ in range(3):
            tell(progress, "a", 0, "measure", duration_ns=[1, 2])
            tell(progress, "b", 2, "measure", duration_ns=[1])
            tell(progress, "a", 0, "sample", t_ns=[1], columns={"cpu": [41.0]})
        tell(progress, "b", 2, "failed", message="it broke")
    assert file.getvalue().splitlines() == [
        "[1/4] a: m.onnx: measuring",
        "[3/4] b: m.onnx: measuring",
        "[3/4] b: m.onnx: failed: it broke",
    ]


def test_a_terminal_shows_each_device_with_its_temperature_and_power(text):
    file = text(True)
    with BenchProgress() as progress:
        tell(progress, "a", 0, "load", **HELLO)
        tell(progress, "a", 0, "measure", duration_ns=[1, 2, 3])
        columns = {"cpu": [41.0, None], "gpu": [52.5, 52.5], "power.rail": [3.0, 3.25], "odd": [9.0, 9.0]}
        tell(progress, "a", 0, "sample", t_ns=[1, 2], columns={**columns, "frequency.policy0": [2.4e9, 1.5e9]})
        tell(progress, "b", 2, "push")
        rows = [[str(cell) for cell in column.cells] for column in progress._table().columns]
        tell(progress, "b", 2, "done")
    assert rows == [
        ["a", "b"],
        ["measuring", "pushing"],
        ["m.onnx", "m.onnx"],
        ["1/4", "3/4"],
        ["3", ""],
        ["52.5 °C", ""],
        ["1.50 GHz", ""],
        ["3.2 W (rail alone)", ""],
        ["", ""],
    ]
    assert "[3/4] b: m.onnx: done" in file.getvalue()
    assert "[1/4] a: m.onnx: measuring" not in file.getvalue()


def test_the_count_begins_anew_with_the_next_measurement(text):
    text(True)
    with BenchProgress() as progress:
        tell(progress, "a", 0, "measure", duration_ns=[1, 2, 3])
        tell(progress, "a", 1, "measure", duration_ns=[1])
        assert progress._rows["a"].cells()[3] == "1"


def test_cooling_down_and_the_idle_baseline_have_words(text):
    file = text(False)
    with BenchProgress() as progress:
        tell(progress, "a", 0, "gate")
        tell(progress, "a", 0, "idle")
    assert file.getvalue().splitlines() == ["[1/4] a: m.onnx: cooling down", "[1/4] a: m.onnx: idle baseline"]


def test_values_of_the_last_run_do_not_stay_with_the_next(text):
    text(True)
    with BenchProgress() as progress:
        tell(progress, "a", 0, "load", **HELLO)
        tell(progress, "a", 0, "sample", t_ns=[1], columns={"cpu": [41.0]})
        tell(progress, "a", 1, "load", **HELLO)
        assert progress._rows["a"].cells()[4] == ""
