"""What the real server tells of its tails, and the link to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.split.wire import Endpoint
from mobile.errors import ConfigError, DeviceUnreachable, EdgewiseError
from mobile.inventory import Inventory
from mobile.inventory.models import Server
from offload.costs.link import measure_link
from offload.costs.tails import TailTime, measure_tails, request_s
from tests.support.served_packages import example_package
from tests.support.serving import serving

SAMPLE = {"image": np.ones((1, 1, 28, 28), np.float32)}


def test_each_placements_tail_is_told_by_the_servers_own_clock(tmp_path: Path) -> None:
    package = example_package(tmp_path / "net.split")
    with serving(package.path) as served:
        times = measure_tails(package, Endpoint(served.url), SAMPLE, count=5)
        (only,) = measure_tails(package, Endpoint(served.url), SAMPLE, count=1, only=["p3"])
    assert [time.placement for time in times] == ["p1", "p2", "p3"]  # p0 does not use the server
    assert only.placement == "p3"
    for time in times:
        assert 0 < time.inference_s <= time.service_s <= time.answer_s
        assert time.overhead_s == pytest.approx(time.service_s - time.inference_s)
        assert time.count == 5
        assert time.to_json()["how"] == "measured"
    assert times[2].bytes_up > SAMPLE["image"].nbytes
    assert request_s(times) == min(time.overhead_s for time in times)
    assert request_s([]) == 0.0


def test_a_server_that_is_not_there_or_has_another_package_is_said(tmp_path: Path) -> None:
    package = example_package(tmp_path / "net.split")
    with pytest.raises(DeviceUnreachable, match="connection refused"):
        measure_tails(package, Endpoint("http://127.0.0.1:9"), SAMPLE)
    other = example_package(tmp_path / "other.split", name="other")
    with serving(other.path) as served, pytest.raises(EdgewiseError) as refused:
        measure_tails(package, Endpoint(served.url), SAMPLE)
    assert "this very package" in str(refused.value.hint)


def test_overhead_is_never_negative() -> None:
    assert TailTime("p1", 2.0, 1.0, 3.0, 1, 1, 1).overhead_s == 0.0


def test_the_way_to_the_real_server_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = example_package(tmp_path / "net.split")
    device = Inventory.builtin().device("local")
    monkeypatch.setenv("EDGE_TOKEN", "a-token-of-some-length")
    with serving(package.path, token="a-token-of-some-length") as served:
        named: dict[str, Any] = {"name": "edge", "url": served.url}
        found = measure_link(device, Server(**named, token_env="EDGE_TOKEN"), 0.5)
        with pytest.raises(ConfigError, match="refuses the token"):
            measure_link(device, Server(**named), 0.5)
        assert not any("a-token-of-some-length" in str(line) for line in served.log)
    assert found.notes == ()
    assert found.up.bandwidth_bps > 0
    assert found.down.bandwidth_bps > 0
    assert found.rtt_s > 0
    assert found.up.largest_bytes >= 4096
