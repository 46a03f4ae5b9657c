"""A link's figures from what a device told, and the link's place in devices.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.errors import AgentError, ConfigError, DeviceUnreachable, EdgewiseError, UsageError
from mobile.inventory import Inventory, load_inventory
from mobile.inventory.models import Link, Server
from mobile.inventory.save_link import line_of_link, save_link, with_link
from offload.costs.link import certificates_of, fit_way, measure_link, of_answer, slope, token_of
from offload.plan.costs import MEASURED

DEVICE = Inventory.builtin().device("local")
EDGE = Server(name="edge", url="http://127.0.0.1:1")
SIZES = (4096, 16384, 65536, 262144, 1 << 20)


def transfers(bps: float, start_s: float, noise: float = 0.0, seed: int = 0) -> list[tuple[int, float]]:
    rng = np.random.default_rng(seed)
    return [
        (size, (start_s + 8 * size / bps) * (1 + noise * rng.standard_normal())) for size in SIZES for _ in range(8)
    ]


def answer(up_bps: float = 2e7, down_bps: float = 5e7, rtt_s: float = 0.02, **changes: Any) -> dict[str, Any]:
    samples = [["empty", 0, int(rtt_s * 1e9)]] * 9
    samples += [["up", size, int(s * 1e9)] for size, s in transfers(up_bps, rtt_s)]
    samples += [["down", size, int(s * 1e9)] for size, s in transfers(down_bps, rtt_s)]
    return {"connect_ns": 10**7, "samples": samples, "tcp": {"segments": 1000, "retransmitted": 10}, **changes}


def of(document: dict[str, Any]) -> Any:
    return of_answer(document, DEVICE, EDGE, "2026-01-01T00:00:00Z")


def test_bandwidth_and_round_trip_are_those_that_made_the_times() -> None:
    found = of(answer())
    assert found.rtt_s == pytest.approx(0.02)
    assert found.up.bandwidth_bps == pytest.approx(2e7, rel=1e-3)
    assert found.down.bandwidth_bps == pytest.approx(5e7, rel=1e-3)
    assert found.up.intercept_s == pytest.approx(0.02, rel=1e-3)
    assert found.up.slow_bps == pytest.approx(found.up.fast_bps, rel=1e-3)
    assert found.loss == pytest.approx(0.01)
    assert found.link.how == MEASURED
    document = found.to_json()
    assert document["how"] == "measured"
    assert document["uplink_bps"] == found.up.bandwidth_bps
    assert document["provenance"] == "real"


@settings(max_examples=40, deadline=None)
@given(st.floats(1e5, 1e10), st.floats(0, 0.5), st.integers(0, 1000))
def test_noise_moves_the_bandwidth_a_little_and_a_stall_not_at_all(bps: float, start_s: float, seed: int) -> None:
    clean = transfers(bps, start_s)
    stalled = clean + [(size, seconds * 20 + 1) for size, seconds in clean[:: len(clean) // 5]]
    assert fit_way(stalled, start_s).bandwidth_bps == pytest.approx(bps, rel=1e-3)
    dominated = transfers(bps, 0.01 * 8 * SIZES[-1] / bps, noise=0.05, seed=seed)
    assert fit_way(dominated, 0.0).bandwidth_bps == pytest.approx(bps, rel=0.2)


def test_one_size_or_times_that_fall_still_give_a_bound() -> None:
    alone = fit_way([(1000, 0.5)], 0.1)
    assert alone.bandwidth_bps == pytest.approx(8 * 1000 / 0.4)
    falling = fit_way([(1000, 0.5), (2000, 0.4)], 0.1)
    assert 0 < falling.bandwidth_bps < float("inf")
    assert fit_way([(1000, 0.1)], 5.0).bandwidth_bps > 0
    assert slope([(5, 1.0)]) is None


@pytest.mark.parametrize(
    ("tcp", "words"), [(None, "does not tell"), ({"segments": 3, "retransmitted": 1}, "3 segments are too few")]
)
def test_loss_that_cannot_be_told_is_none_with_a_reason(tcp: Any, words: str) -> None:
    found = of(answer(tcp=tcp))
    assert found.loss is None
    assert words in str(found.loss_missing)


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        (
            {"error": {"kind": "unreachable", "message": "127.0.0.1:1: connection refused"}},
            DeviceUnreachable,
            "refused",
        ),
        ({"error": {"kind": "unauthorized", "message": "401"}}, ConfigError, "refuses the token"),
        ({"error": {"kind": "unknown-model", "message": "404"}}, ConfigError, "no /edgewise/link"),
        ({"error": {"kind": "busy", "message": "busy with a run"}}, EdgewiseError, "busy with a run"),
        ({}, AgentError, "damaged"),
        (answer(samples=[["up", "x", 1]]), AgentError, "damaged"),
        (answer(tcp={}), AgentError, "damaged"),
        (answer(samples=[["empty", 0, 5]], problem="it closed the connection"), EdgewiseError, "it closed"),
        (answer(samples=[]), EdgewiseError, "too short"),
    ],
)
def test_what_the_device_could_not_do_is_said(document: dict[str, Any], kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        of(document)


def test_a_token_comes_from_the_environment_and_certificates_from_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(name="edge", url="https://edge", token_env="EDGE_TOKEN", ca_file=str(tmp_path / "ca.pem"))
    monkeypatch.delenv("EDGE_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="EDGE_TOKEN is not set"):
        token_of(server)
    monkeypatch.setenv("EDGE_TOKEN", "secret")
    assert token_of(server) == "secret"
    assert token_of(EDGE) is None
    with pytest.raises(ConfigError, match="No such file"):
        certificates_of(server)
    (tmp_path / "ca.pem").write_text("pem")
    assert certificates_of(server) == "pem"
    assert certificates_of(EDGE) is None


def test_a_duration_has_limits() -> None:
    with pytest.raises(UsageError, match="--duration"):
        measure_link(DEVICE, EDGE, 0.0)


LINK = Link(device="local", server="edge", uplink_bps=12345678.4, downlink_bps=5e7, rtt_s=0.0123456789, assumed=False)
SERVERS = "# my boards\nservers:\n  edge: {url: 'http://e:1'}  # the closet\n"
MINE = "  # mine\n  - {device: local, server: local, uplink_bps: 20 Mbit/s, downlink_bps: 50 Mbit/s, rtt_s: 0.02}\n"
OLD = "  - device: local\n    server: edge\n    uplink_bps: 1 Mbit/s\n    downlink_bps: 1 Mbit/s\n    rtt_s: 1\n"


@pytest.mark.parametrize(
    "links",
    [
        "",
        "links:\n",
        "links:\n#  - {device: pi5}\n",
        f"links:\n{MINE}",
        f"links:\n{MINE}  # the last word\n",
        f"links:\n{OLD}",
        f"links:\n{OLD}{MINE}groups:\n  all_of_them: [local]\n",
        f"links:\n{MINE}{OLD}\n# end\n",
        f"links:\n{MINE}".replace("  - ", "- ").replace("  #", "#"),
    ],
)
def test_a_link_is_saved_and_all_else_stays_as_it_was(tmp_path: Path, links: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(SERVERS + links)
    before = load_inventory(path)
    save_link(path, LINK)
    after = load_inventory(path)
    found = after.link("local", "edge")
    assert (found.uplink_bps, found.downlink_bps, found.assumed) == (12345678, 5e7, False)
    assert found.rtt_s == pytest.approx(0.012346)
    others = [link for link in before.links if link.server != "edge"]
    assert [link for link in after.links if link.server != "edge"] == others
    assert after.groups == before.groups
    kept = [line for line in (SERVERS + links).splitlines() if line.lstrip().startswith("#") or "closet" in line]
    assert all(line in path.read_text().splitlines() for line in kept)
    save_link(path, LINK)
    assert path.read_text().count("server: edge") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["devices.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        SERVERS + "links: [{device: local, server: local, uplink_bps: 1 kbit, downlink_bps: 1 kbit, rtt_s: 0}]\n",
        SERVERS + "links:\n" + OLD.replace("rtt_s: 1", "rtt_s: 1  # by hand"),
        "{servers: {edge: {url: 'http://e:1'}}}\n",
    ],
)
def test_a_file_that_cannot_be_changed_line_by_line_is_left_and_the_line_is_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        save_link(path, LINK)
    assert line_of_link(LINK) in str(refused.value.hint)
    assert path.read_text() == text


@given(st.text(max_size=200))
def test_no_text_makes_it_stumble(text: str) -> None:
    changed = with_link(text, LINK)
    assert changed is None or line_of_link(LINK) in changed
