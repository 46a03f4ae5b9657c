"""The soaks of the wire and of cuts, a few of each, so that the commands stay what they are."""

from __future__ import annotations

import sys

import pytest

from tests.soak import cuts, wire


def test_a_few_thousand_damaged_frames(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["wire", "--frames", "4000", "--seed", "5"])
    assert wire.main() == 0
    told = capsys.readouterr().out
    assert "0 faults; server answers: True" in told
    assert all(f"  {name}: " in told for name in wire.ways())


def test_a_fault_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(data: bytes) -> None:
        raise ZeroDivisionError("nothing of the kind")

    monkeypatch.setattr(wire, "ways", lambda: {"heads": ([b"GET / HTTP/1.1\r\n\r\n"], broken, (ValueError,))})
    monkeypatch.setattr(sys, "argv", ["wire", "--frames", "3"])
    assert wire.main() == 1
    assert "heads: ZeroDivisionError" in capsys.readouterr().out


def test_a_few_graphs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["cuts", "--count", "20"])
    assert cuts.main() == 0
    assert "0 wrong" in capsys.readouterr().out
