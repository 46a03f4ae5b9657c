"""A model onto many devices at once: side by side, each on its own, and over at once when asked to stop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mobile.benchmark.models import Model
from mobile.errors import DeviceUnreachable
from mobile.inventory import Device
from mobile.push.deploy import deploy
from mobile.results.run import ModelRef
from tests.support.pushing import Watched

DATA = bytes(range(256)) * 20_000


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(DATA)
    return Model(path=path, files=(path,), ref=ModelRef("m.bin", "", "none", len(DATA)))


class Gone(Watched):
    def run(self, argv, **options):
        raise DeviceUnreachable("nobody is there")


class Slow(Watched):
    """A link on which bytes take their time."""

    def _counted(self, stdin):
        for piece in super()._counted(stdin):
            time.sleep(0.2)
            yield piece


@pytest.fixture
def drawer(monkeypatch, tmp_path):
    """A function that makes devices whose transports are given by their names."""

    def make(**transports):
        monkeypatch.setattr("mobile.transports.open_transport", lambda device: transports[device.name])
        return [
            Device(name=name, transport="ssh", host="board.invalid", workdir=str(tmp_path / name))
            for name in transports
        ]

    return make


def outcomes(steps):
    return {step.device: step.outcome for step in steps if step.outcome}


def test_one_that_fails_spoils_nothing(drawer, model, tmp_path):
    devices = drawer(a=Watched(), gone=Gone(), b=Watched(cut_after=3_000_000))
    found = outcomes(deploy(devices, model, check=False))
    assert found["gone"].error.code == "unreachable"
    assert found["gone"].to_json()["path"] is None
    for name in ("a", "b"):
        assert found[name].error is None
        assert Path(found[name].current).read_bytes() == DATA
        assert found[name].current == f"{tmp_path / name}/current/m.bin"
    assert found["b"].pushed.resumes == 1


def test_devices_are_served_side_by_side(drawer, model):
    together = threading.Barrier(3, timeout=30)

    class Meeting(Watched):
        def _counted(self, stdin):
            together.wait()
            yield from super()._counted(stdin)

    found = outcomes(deploy(drawer(a=Meeting(), b=Meeting(), c=Meeting()), model, check=False, use=False))
    assert [outcome.error for outcome in found.values()] == [None] * 3
    assert {outcome.current for outcome in found.values()} == {None}


def test_a_stop_ends_all_and_shows_nothing(drawer, model, tmp_path):
    steps = deploy(drawer(a=Slow(), b=Slow()), model, check=False)
    for step in steps:
        if step.state == "push" and step.done_bytes > 2_500_000:
            break
    steps.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("device-")]
    assert not list(tmp_path.rglob("store/*/*/m.bin"))
    assert not list(tmp_path.rglob("current/m.bin"))
    found = outcomes(deploy(drawer(a=Watched(), b=Watched()), model, check=False))
    assert all(outcome.error is None for outcome in found.values())
    assert found[step.device].pushed.kept_bytes > 0


def test_a_file_that_vanished_is_each_devices_error(drawer, model):
    model.path.unlink()
    found = outcomes(deploy(drawer(a=Watched(), b=Watched()), model, check=False))
    assert {outcome.error.code for outcome in found.values()} == {"usage"}
