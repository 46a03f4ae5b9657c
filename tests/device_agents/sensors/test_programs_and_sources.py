"""Programs that tell a board's values, and sources that several sensors share."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from device_agents.sampler import Sampling
from device_agents.sensors.base import Reading, Source, SourceSensor, descriptor
from device_agents.sensors.files import SensorError
from device_agents.sensors.programs import find_program, run_program


def test_a_programs_output_and_its_cpu_time_come_back() -> None:
    output = run_program(["sh", "-c", "echo 42; for i in $(seq 20000); do :; done"])
    assert output.text == "42\n"
    assert output.cpu_s > 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sh", "-c", "echo no permission >&2; exit 3"], "sh ended with 3: no permission"),
        (["sh", "-c", "echo can not; exit 1"], "sh ended with 1: can not"),
        (["sh", "-c", "kill -9 $$"], "sh ended with -9"),
        (["sh", "-c", "yes & sleep 60"], "printed more than 1000 bytes"),
        (["sh", "-c", "sleep 60; echo done"], "did not answer within 0.3 s"),
        (["/nowhere/vcgencmd"], "vcgencmd: the file is gone"),
    ],
)
def test_a_program_that_fails_is_a_reason(argv: list[str], words: str) -> None:
    with pytest.raises(SensorError) as caught:
        run_program(argv, limit_s=0.3, limit_bytes=1000)
    assert words in caught.value.reason


def test_programs_are_those_of_the_board_not_of_this_machine(tmp_path: Path) -> None:
    assert find_program(str(tmp_path), "sh") is None
    path = tmp_path / "usr/bin/vcgencmd"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\necho temp=50.0\n")
    assert find_program(str(tmp_path), "vcgencmd") is None  # not to be run
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert find_program(str(tmp_path), "vcgencmd") == str(path)
    assert find_program("/", "sh") is not None


class _Counting(Source):
    def __init__(self) -> None:
        super().__init__("counting", 0.05)
        self.fetched = 0
        self.closed = threading.Event()

    def fetch(self) -> dict[str, Reading]:
        self.fetched += 1
        if self.fetched == 1:
            raise SensorError("not yet")
        return {"n": float(self.fetched), "off": "switched off"}

    def close(self) -> None:
        self.closed.set()


def test_the_sensors_of_a_source_share_one_reading_on_their_own_schedule(tmp_path: Path) -> None:
    source = _Counting()
    sensors = [
        SourceSensor(descriptor(key, "count", "a test", "counting"), source, key) for key in ("n", "off", "absent")
    ]
    emitted: list[dict[str, object]] = []
    enough = threading.Event()

    def emit(record: dict[str, object]) -> None:
        emitted.append(record)
        if source.fetched > 3:
            enough.set()

    sampling = Sampling(sensors, 0.001, emit)
    sampling.start()
    enough.wait(30)
    overhead = sampling.stop()
    blocks = [record for record in emitted if record["columns"]]
    columns = {name: [v for block in blocks for v in block["columns"][name]] for name in ("n", "off", "absent")}  # type: ignore[index]
    assert columns["n"][0] is None
    assert columns["n"][1:] == [float(n) for n in range(2, source.fetched + 1)]
    assert set(columns["off"]) == set(columns["absent"]) == {None}
    reasons: dict[str, str] = {}
    for block in blocks:
        reasons.update(block["reasons"])  # type: ignore[call-overload]
    assert reasons == {"n": "not yet", "off": "switched off", "absent": "counting does not show it"}
    assert overhead["sources"]["counting"]["period_s"] == pytest.approx(0.05)
    assert overhead["sources"]["counting"]["ticks"] == source.fetched
    assert source.closed.is_set()


def test_a_program_under_a_root_with_blanks_runs(tmp_path: Path) -> None:
    path = tmp_path / "my board/usr/bin/tell"
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\necho "$1"\n')
    os.chmod(path, 0o755)
    found = find_program(str(tmp_path / "my board"), "tell")
    assert found is not None
    assert run_program([found, "a b"]).text == "a b\n"
