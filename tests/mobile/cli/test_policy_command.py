"""`edgewise policy`: what it prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agents.split.table import Level, Placement, Table
from mobile.cli.main import run

LOCAL = Placement("p0", "device", 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
REMOTE = Placement("p1", "server", 0.0, 0.01, 0.0, 0.0, 1e5, 0.0, 0.0)
TABLE = Table([LOCAL, REMOTE], [Level(1.0, (1e-10, 9e-7, 1e-3), ("p1", "p0"))])


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE.to_json()))
    return str(path)


def test_check_shows_what_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("policy: deadline\ndeadline_ms: 150\n")
    assert run(["policy", "check", str(path)]) == 0
    assert "policy deadline" in capsys.readouterr().out
    assert run(["policy", "check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deadline_s"] == 0.15
    path.write_text("policy: deadlin\n")
    assert run(["policy", "check", str(path)]) == 2
    assert "p.yaml:1: policy is 'deadlin'" in capsys.readouterr().err


def test_simulated_figures_say_so(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "drive.up").write_text("\n".join(str(ms) for ms in range(2, 4000, 2)))
    (tmp_path / "drive.down").write_text("\n".join(str(ms) for ms in range(1, 3000, 1)))
    line = ["policy", "simulate", table, "--trace", str(tmp_path / "drive.up"), "--synthetic", "steps:3"]
    line += ["--period", "250ms", "--deadline", "0.25", "--duration", "20s"]
    assert run(line) == 0
    shown = capsys.readouterr().out
    assert "simulated" in shown
    assert "nothing was measured" in shown
    assert run([*line, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["simulated"] is True
    assert [told["trace"] for told in document["runs"]] == [str(tmp_path / "drive.up"), "steps:3"]
    assert all(told["simulated"] and told["frames"] == 80 for told in document["runs"])
    assert document["runs"][0]["assumed"] == ["a round trip of 20 ms"]


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("a.csv", [], "is it an uplink or a downlink?"),
        ("a.csv", ["--direction", "down"], "a downlink, and a split is bound by the uplink"),
        ("a.down", [], "a downlink, and a split is bound by the uplink"),
        ("a.up", ["--uplink-scale", "0.2"], "an uplink is used as it is"),
    ],
)
def test_a_downlink_is_no_uplink_unless_its_factor_is_said(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, more: list[str], words: str
) -> None:
    (tmp_path / name).write_text("0,20\n10,10\n")
    assert run(["policy", "simulate", table, "--trace", str(tmp_path / name), *more]) == 2
    assert words in capsys.readouterr().err


def test_a_stated_factor_makes_the_uplink(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.down").write_text("0,20\n10,10\n")
    line = ["policy", "simulate", table, "--trace", str(tmp_path / "a.down"), "--uplink-scale", "0.2", "--json"]
    assert run(line) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["assumed"][0] == "an uplink of 0.2 times the downlink"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["TABLE"], 2, "name a --trace FILE or a --synthetic"),
        (["TABLE", "--synthetic", "lte"], 2, "is not KIND:SEED"),
        (["TABLE", "--synthetic", "tide:1"], 2, "there is no synthetic trace 'tide'"),
        (["TABLE", "--synthetic", "lte:1", "--period", "0"], 2, "must be above 0"),
        (["nowhere.json", "--synthetic", "lte:1"], 2, "No such file"),
        (["TABLE", "--synthetic", "lte:1", "--policy", "POLICY"], 2, "placement 'p7' is not in the package"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str], code: int, words: str
) -> None:
    (tmp_path / "p.yaml").write_text("policy: fixed\nplacement: p7\n")
    names = {"TABLE": table, "POLICY": str(tmp_path / "p.yaml")}
    assert run(["policy", "simulate", *(names.get(word, word) for word in line)]) == code
    assert words in capsys.readouterr().err
