"""Pytest fixtures: a plugin, to be named once in `pytest_plugins`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.requirements import missing


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with the devices board64 (SSH, arm64), board86 (SSH, amd64) and phone (ADB, arm64), for all tests.

    After each test that asks for it, devices are switched on again and cables put back as they were. What a test wrote
    on a disk stays. Skips, with the reason, where a lab cannot run.
    """
    _skip_without_lab()
    made = Lab.up(f"t{os.getpid()}", owned=True)
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def in_ctl(lab: Lab) -> Iterator[Lab]:
    """The lab, with the test itself on the developer's machine: its sockets and new threads reach the devices."""
    with lab.inside("ctl"):
        yield lab


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """A function that ups another lab from device specs, as in `make_lab("small=ssh-amd64,mem=128M,disk=64M")`.

    It takes half a second for each device; what it made is gone after the test.
    """
    _skip_without_lab()
    made: list[Lab] = []

    def make(*specs: str) -> Lab:
        made.append(Lab.up(f"t{os.getpid()}n{len(made)}", specs, owned=True))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.down()


@pytest.fixture(autouse=True)
def _lab_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames and "lab" in request.node.funcargs:
        request.node.funcargs["lab"].restore()


def _skip_without_lab() -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)
