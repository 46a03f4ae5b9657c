"""The words in which devices and links are asked for: `board=ssh-arm64,rate=50mbit,delay=10ms,mem=512M`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.lab.personalities import personality
from tests.lab.process import LabError
from tests.lab.state import Link, Node

KINDS = ("ssh-arm64", "ssh-amd64", "adb-arm64", "adb-amd64")
HOSTS = ("ctl", "edge")
DEFAULT = ("board64=ssh-arm64,disk=4G", "board86=ssh-amd64,disk=4G", "phone=adb-arm64,disk=4G")
NETWORK = "198.18.77"  # from the range set apart for benchmarks: it is nobody's address
MOST_DEVICES = 32

_LINK_OPTIONS = ("rate", "delay", "jitter", "loss")
_OPTIONS = (*_LINK_OPTIONS, "mem", "cpu", "disk", "as")


def nodes(devices: Sequence[str]) -> dict[str, Node]:
    """The nodes of a lab with these devices: the two hosts first, each node with its address."""
    if len(devices) > MOST_DEVICES:
        raise LabError(f"{len(devices)} devices asked for; a lab has at most {MOST_DEVICES}")
    found = {name: Node(name, "host", f"{NETWORK}.{1 + i}") for i, name in enumerate(HOSTS)}
    for index, text in enumerate(devices):
        node = device(text, f"{NETWORK}.{11 + index}")
        if node.name in found or node.name == "hub":
            raise LabError(f"{text!r}: the name {node.name!r} is taken")
        found[node.name] = node
    return found


def device(text: str, address: str) -> Node:
    """The device that `text` asks for, as NAME=KIND[,OPTION=VALUE...]."""
    name, _, rest = text.partition("=")
    kind, *words = rest.split(",")
    if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", name):
        raise LabError(f"{text!r}: a name is a letter and at most 11 letters or digits, all lower case")
    if kind not in KINDS:
        raise LabError(f"{text!r}: unknown kind {kind!r} (there are: {', '.join(KINDS)})")
    options = dict(word.partition("=")[::2] for word in words)
    unknown = set(options) - set(_OPTIONS)
    if unknown:
        raise LabError(f"{text!r}: unknown option {sorted(unknown)[0]!r} (there are: {', '.join(_OPTIONS)})")
    node = Node(name, kind, address)
    rate, delay, jitter, loss = (options.get(key) for key in _LINK_OPTIONS)
    node.link = changed(node.link, rate=rate, delay=delay, jitter=jitter, loss=loss)
    node.mem_mb = size_mb(options["mem"]) if "mem" in options else None
    node.cpu_percent = int(number(options["cpu"], "%")) if "cpu" in options else None
    node.disk_mb = size_mb(options.get("disk", "1G"))
    if "as" in options:
        personality(options["as"])  # refuses what is none
        node.personality = options["as"]
    return node


def changed(
    link: Link,
    *,
    up: bool | None = None,
    rate: str | None = None,
    delay: str | None = None,
    jitter: str | None = None,
    loss: str | None = None,
) -> Link:
    """A copy of `link` with the given values; None leaves a value as it is."""
    if rate is not None and rate != "none":
        rate_bps(rate)
    return Link(
        rate=link.rate if rate is None else rate,
        delay_ms=link.delay_ms if delay is None else number(delay, "ms"),
        jitter_ms=link.jitter_ms if jitter is None else number(jitter, "ms"),
        loss_percent=link.loss_percent if loss is None else number(loss, "%"),
        up=link.up if up is None else up,
    )


def number(text: str, unit: str) -> float:
    """The value of a text like "12.5ms"; the unit must be there unless the value is 0.

    >>> number("40ms", "ms")
    40.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(.*)", text)
    if not match or (match[2] != unit and float(match[1]) != 0):
        raise LabError(f"{text!r}: a number followed by {unit!r} is wanted")
    return float(match[1])


def size_mb(text: str) -> int:
    """The size in MiB of a text like "512M" or "2G".

    >>> size_mb("2G")
    2048
    """
    match = re.fullmatch(r"(\d+)([MG])", text)
    if not match or int(match[1]) == 0:
        raise LabError(f"{text!r}: a size is a whole number followed by M or G")
    return int(match[1]) * (1024 if match[2] == "G" else 1)


def rate_bps(text: str) -> float:
    """The bits per second of a text like "10mbit".

    >>> rate_bps("2.5mbit")
    2500000.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg])bit", text)
    if not match or float(match[1]) == 0:
        raise LabError(f"{text!r}: a rate is a number followed by kbit, mbit or gbit, or the word none")
    return float(match[1]) * {"k": 1e3, "m": 1e6, "g": 1e9}[match[2]]
