"""The lab's network: a bridge that leads nowhere, one cable per node, and what the cable does to traffic."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.lab import namespaces, places
from tests.lab.process import run, wait_until
from tests.lab.spec import rate_bps
from tests.lab.state import Link, Node, State, write_atomically

HUB = "hub"


def create_hub(state: State) -> None:
    """Nothing; the namespace with the bridge exists. It has no address and no way out."""
    _make_namespace(state, HUB)
    _ip(state, HUB, "link", "add", "bridge0", "type", "bridge")
    _ip(state, HUB, "link", "set", "bridge0", "up")


def create_node(state: State, node: Node) -> None:
    """Nothing; the node's namespace exists and its cable is in, shaped as `node.link` says."""
    _make_namespace(state, node.name)
    _plug(state, node)


def relink(state: State, node: Node, link: Link) -> None:
    """Nothing; the node's cable behaves as `link` says from now on. Open connections stay open.

    A delayed or lossy cable is made of other stuff (see relay.py) than a plain one: to change between the
    two, the cable is replaced at once, with the same addresses at its ends.
    """
    old, node.link = node.link, link
    if link.needs_relay != old.needs_relay:
        _unplug(state, node)
        _plug(state, node)
        return
    if link.needs_relay:
        _tell_relay(state, node)
    if link.rate != old.rate:
        _limit_rate(state, node)
    if link.up != old.up:
        set_carrier(state, node, up=link.up)


def set_carrier(state: State, node: Node, *, up: bool) -> None:
    """Nothing; the hub's end of the cable is in or out. Nobody is told: TCP at both ends just stalls."""
    _ip(state, HUB, "link", "set", port_of(node), "up" if up else "down")


def remove_namespace(name: str) -> None:
    """Nothing; the namespace, all that ran in it and its network devices are gone."""
    namespaces.end_processes(name)
    run(["ip", "netns", "delete", name])


def port_of(node: Node) -> str:
    """The name of the hub's end of a node's cable."""
    return f"p-{node.name}"


def control_file(state: State, node: Node) -> Path:
    """The file that tells a node's relay what to do; the relay ends when it is gone."""
    return state.folder / f"{node.name}.relay"


def _make_namespace(state: State, node: str) -> None:
    name = state.namespace(node)
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def _plug(state: State, node: Node) -> None:
    hub, own, port = state.namespace(HUB), state.namespace(node.name), port_of(node)
    if node.link.needs_relay:
        _start_relay(state, node)
    else:
        peer = ["peer", "name", "eth0", "netns", own]
        run(["ip", "-n", hub, "link", "add", port, "type", "veth", *peer])
    # The address of the card is fixed, so that a replaced cable leaves no stale entry in anybody's table.
    card = "02:00:" + ":".join(f"{int(part):02x}" for part in node.address.split("."))
    _ip(state, node.name, "link", "set", "eth0", "address", card)
    _ip(state, node.name, "addr", "add", f"{node.address}/24", "dev", "eth0")
    _ip(state, HUB, "link", "set", port, "master", "bridge0")
    _limit_rate(state, node)
    _ip(state, node.name, "link", "set", "eth0", "up")
    set_carrier(state, node, up=node.link.up)


def _unplug(state: State, node: Node) -> None:
    control = control_file(state, node)
    if not control.exists():
        _ip(state, HUB, "link", "delete", port_of(node))
        return
    control.unlink()
    ends = [(HUB, port_of(node)), (node.name, "eth0")]
    failure = f"{node.name}: the link's relay does not end"
    wait_until(lambda: not any(_has_interface(state, *end) for end in ends), 10, failure)


def _has_interface(state: State, node: str, interface: str) -> bool:
    found = run(["ip", "-n", state.namespace(node), "link", "show", "dev", interface], check=False)
    return found.returncode == 0


def _limit_rate(state: State, node: Node) -> None:
    rate = node.link.rate
    for place, interface in ((node.name, "eth0"), (HUB, port_of(node))):
        where = ["tc", "-n", state.namespace(place), "qdisc"]
        if rate == "none":
            run([*where, "delete", "dev", interface, "root"], check=False)
        else:
            # 4 ms worth of bytes at once, at least two frames: with more a small request would cross a slow link for
            # nothing. What waits longer than 100 ms is dropped.
            burst = max(3_200, int(rate_bps(rate) / 8 * 0.004))
            bucket = ["tbf", "rate", rate, "burst", str(burst), "latency", "100ms"]
            run([*where, "replace", "dev", interface, "root", *bucket])  # what waits in the old one is kept


def _start_relay(state: State, node: Node) -> None:
    control = control_file(state, node)
    _write_control(control, node.link)
    ends = [state.namespace(node.name), "eth0", state.namespace(HUB), port_of(node)]
    run([sys.executable, "-m", "tests.lab.relay", control, *ends], cwd=places.REPOSITORY)


def _tell_relay(state: State, node: Node) -> None:
    control = control_file(state, node)
    text = _write_control(control, node.link)
    acknowledged = control.with_suffix(".ack")
    wait_until(
        lambda: acknowledged.exists() and acknowledged.read_text() == text,
        10,
        f"{node.name}: the link's relay does not answer",
    )


def _write_control(control: Path, link: Link) -> str:
    text = json.dumps(
        {"delay_s": link.delay_ms / 1e3, "jitter_s": link.jitter_ms / 1e3, "loss": link.loss_percent / 100}
    )
    write_atomically(control, text)
    return text


def _ip(state: State, node: str, *words: str) -> None:
    run(["ip", "-n", state.namespace(node), *words])
