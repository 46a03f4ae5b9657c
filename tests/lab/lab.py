"""The lab as one object: up, down, and everything one does to it in between."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.lab import cgroups, device_physics, devices, images, namespaces, network, places
from tests.lab import spec as specs
from tests.lab.physics import Truth
from tests.lab.process import LabError, run
from tests.lab.state import Node, State, folder_of, is_abandoned, load, this_process


class Lab:
    """A lab that is up. Make one with `Lab.up` or find one with `Lab.find`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._links = {name: replace(node.link) for name, node in state.nodes.items()}

    @classmethod
    def up(cls, name: str, specs_: Sequence[str] = specs.DEFAULT, *, owned: bool = False) -> Lab:
        """The lab of this name, made anew with the devices that the specs ask for, all of them on.

        What is left of an earlier lab of this name is removed first, and so is every lab whose owner has
        ended. With `owned` the calling process is this lab's owner. After an error nothing of the lab is
        left.
        """
        _check_name(name)
        state = State(name, specs.nodes(specs_), this_process() if owned else None)
        images.prepare([node.kind for node in state.devices.values()])
        with places.locked("labs", timeout_s=120):
            _sweep()
            _remove(name)
            try:
                _create(state)
            except BaseException:
                _remove(name)
                raise
        return cls(state)

    @classmethod
    def find(cls, name: str) -> Lab:
        """The lab of this name that is up; LabError when there is none."""
        _check_name(name)
        state = load(name)
        if state is None:
            raise LabError(f"no lab {name!r} is up; run: python -m tests.lab up")
        return cls(state)

    def down(self) -> None:
        """Nothing; nothing of the lab is left. May be repeated."""
        down(self.state.lab)

    @property
    def devices(self) -> dict[str, Node]:
        """The devices by name: kind, transport, arch, address, port, user, host_key, provenance."""
        return self.state.devices

    @property
    def ssh_key_path(self) -> Path:
        """The private key that the SSH boards accept."""
        return self.state.keys / "id_ed25519"

    @property
    def adb_key_path(self) -> Path:
        """The private key that the phones accept; its public half is beside it."""
        return self.state.keys / "adbkey"

    @property
    def known_hosts_path(self) -> Path:
        """The host keys of the SSH boards, in ssh's format."""
        return self.state.folder / "known_hosts"

    @property
    def known_hosts(self) -> str:
        """The content of `known_hosts_path`."""
        return self.known_hosts_path.read_text()

    @property
    def ssh_config_path(self) -> Path:
        """A configuration for ssh in which every SSH board has an entry under its name."""
        return self.state.folder / "ssh_config"

    def link(
        self,
        name: str,
        *,
        up: bool | None = None,
        rate: str | None = None,
        delay: str | None = None,
        jitter: str | None = None,
        loss: str | None = None,
    ) -> None:
        """Nothing; the node's cable is in or out, or carries traffic differently. What is not named stays.

        `rate` is like "10mbit" or "none", in each direction; `delay` and `jitter` like "40ms", one way;
        `loss` like "1%", each way.
        """
        node = self.state.node(name)
        link = specs.changed(node.link, up=up, rate=rate, delay=delay, jitter=jitter, loss=loss)
        if node.is_device and not devices.is_on(self.state, node):
            raise LabError(f"{name} is powered off: switch it on before its link is changed")
        network.relink(self.state, node, link)
        self.state.save()

    def power(self, name: str, *, on: bool) -> None:
        """Nothing; the device is on (its daemon listens) or off. Its disk stays, its /sys starts afresh."""
        node = self.state.device(name)
        (devices.power_on if on else devices.power_off)(self.state, node)

    def inject(self, name: str, fault: str, for_s: float | None = None) -> None:
        """Nothing; the device with a personality suffers from a fault (physics/law.py), for so long or for good."""
        device_physics.inject(self.state, self.state.device(name), fault, for_s)

    def truth(self, name: str) -> Truth:
        """What really happened on a device with a personality: joules, heat, faults, by this machine's clock."""
        return device_physics.truth(self.state, self.state.device(name))

    def restore(self) -> None:
        """Nothing; every device is on and every cable is as it was when this object was made."""
        self.state = load(self.state.lab) or self.state
        for name, node in self.state.devices.items():
            if not devices.is_on(self.state, node):
                self.power(name, on=True)
        for name, node in self.state.nodes.items():
            if node.link != self._links[name]:
                network.relink(self.state, node, replace(self._links[name]))
        self.state.save()

    def is_on(self, name: str) -> bool:
        """True while the device has power."""
        return devices.is_on(self.state, self.state.device(name))

    def sys_path(self, name: str, path: str = "") -> Path:
        """Where the device's /sys/`path` is on this machine, to be read, written, chmodded or removed."""
        root = self.state.device_folder(self.state.device(name).name) / "sys"
        found = root / path
        if not found.resolve().is_relative_to(root.resolve()):
            raise LabError(f"{path!r} is not under the device's /sys")
        return found

    def write_sys(self, name: str, path: str, value: str) -> None:
        """Nothing; the device reads `value` and a newline in its /sys/`path`."""
        target = self.sys_path(name, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{value}\n")

    def program(self, name: str, argv: Sequence[str]) -> tuple[list[str], dict[str, str] | None]:
        """The argument list and environment (None: the caller's) with which `argv` runs on a node.

        On ctl and edge: this machine's files, the lab's network. On a device: its console, as root.
        """
        node = self.state.node(name)
        if node.is_device:
            return devices.console(self.state, node, argv)
        space = namespaces.FOLDER / self.state.namespace(name)
        return ["nsenter", f"--net={space}", "--", *argv], None

    def run_in(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        timeout_s: float = 60.0,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """The finished program, run on a node (see `program`); LabError past `timeout_s`.

        Takes `env`, `cwd` and `stdin` (a text) like `process.run`. A device's console keeps its own
        variables under those of `env`.
        """
        words, own = self.program(name, [str(word) for word in argv])
        env: Mapping[str, str] | None = options.pop("env", None)
        if own is not None:
            env = {**own, **(env or {})}
        return run(words, timeout_s=timeout_s, check=check, env=env, **options)

    def run_in_ctl(
        self, argv: Sequence[str | Path], *, timeout_s: float = 60.0, check: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """The finished program, run on the developer's machine of the lab; see `run_in`."""
        return self.run_in("ctl", argv, timeout_s=timeout_s, check=check, **options)

    @contextmanager
    def inside(self, name: str = "ctl") -> Iterator[None]:
        """A block in which this thread, and threads and programs started in it, are in a node's network."""
        with namespaces.inside(self.state.namespace(self.state.node(name).name)):
            yield


def down(name: str) -> None:
    """Nothing; nothing of a lab of this name is left, whether it was whole, half made or not there."""
    _check_name(name)
    with places.locked("labs", timeout_s=120):
        _remove(name)


def sweep() -> list[str]:
    """The names of the labs that were removed, because their owner has ended or their state is lost."""
    with places.locked("labs", timeout_s=120):
        return _sweep()


def _sweep() -> list[str]:
    start = f"{places.prefix()}-"
    found = {name[len(start) :].partition("-")[0] for name in namespaces.named() if name.startswith(start)}
    found |= {path.name for path in places.labs_dir().iterdir()}
    gone = [name for name in sorted(found) if (state := load(name)) is None or is_abandoned(state)]
    for name in gone:
        _remove(name)
    return gone


def _create(state: State) -> None:
    state.save()
    _make_keys(state)
    network.create_hub(state)
    for node in state.nodes.values():
        network.create_node(state, node)
        if node.is_device:
            devices.create(state, node)
    state.save()
    _write_ssh_files(state)
    for node in state.devices.values():
        devices.power_on(state, node)


def _remove(name: str) -> None:
    start = f"{places.prefix()}-{name}-"
    state = load(name)
    for node in state.devices.values() if state else ():
        device_physics.end(state, node)
    for space in namespaces.named():
        if space.startswith(start):
            network.remove_namespace(space)
    cgroups.remove(start)
    images.remove_tree(folder_of(name))


def _make_keys(state: State) -> None:
    state.keys.mkdir(mode=0o700)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgewise-lab", "-f", state.keys / "id_ed25519"])
    if any(node.transport == "adb" for node in state.devices.values()):
        run(["adb", "keygen", state.keys / "adbkey"])


def _write_ssh_files(state: State) -> None:
    boards = [node for node in state.devices.values() if node.transport == "ssh"]
    known = state.folder / "known_hosts"
    known.write_text("".join(f"{node.address},{node.name} {node.host_key}\n" for node in boards))
    common = f"IdentityFile {state.keys / 'id_ed25519'}\nIdentitiesOnly yes\nUserKnownHostsFile {known}\n"
    entries = [f"Host {b.name}\nHostName {b.address}\nPort {b.port}\nUser {b.user}\n{common}" for b in boards]
    (state.folder / "ssh_config").write_text("\n".join(entries))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", name):
        raise LabError(f"{name!r}: a lab's name is a letter and at most 15 letters or digits, all lower case")
