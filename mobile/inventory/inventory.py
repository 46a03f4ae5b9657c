"""The inventory: the devices, servers and links that have a name, and how names select them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mobile.errors import ConfigError
from mobile.inventory.models import (
    LOCAL_SERVER_URL,
    TRANSPORTS_OF,
    DefaultFields,
    Device,
    InventoryFile,
    Link,
    Server,
)
from mobile.inventory.near import did_you_mean
from mobile.inventory.problems import config_error, dotted, line_of
from mobile.inventory.secrets_rule import refuse_secrets
from mobile.inventory.yamlfile import KeyPath, Located, read_yaml

LOCAL = "local"
EVERYTHING = "all"
FILE_NAME = "devices.yaml"
_NOT_FOR_ADB = ("python", "workdir")  # a default of these is meant for boards with a home folder


@dataclass(frozen=True)
class Inventory:
    """All that has a name.

    ``path`` is None for the built-in inventory; ``devices`` and ``servers`` always have `local`.
    >>> [device.name for device in Inventory.builtin().select(["@all"])]
    ['local']
    """

    devices: dict[str, Device]
    servers: dict[str, Server]
    links: tuple[Link, ...] = ()
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def load(cls, path: Path | str | None = None) -> Inventory:
        """The inventory of ``path``, or of the first place in find_inventory's order.

        ConfigError names file and line.
        """
        return load_inventory(path)

    @classmethod
    def builtin(cls) -> Inventory:
        """The inventory without any file: the device `local` and the server `local`."""
        local = Device(name=LOCAL, transport="local")
        return cls({LOCAL: local}, {LOCAL: Server(name=LOCAL, url=LOCAL_SERVER_URL)})

    def device(self, name: str) -> Device:
        """The device of that name. ConfigError lists the names that come near."""
        if name not in self.devices:
            raise ConfigError(f"there is no device {name!r} in {self._where()}; {self._near(name)}")
        return self.devices[name]

    def server(self, name: str) -> Server:
        """The server of that name. ConfigError lists the names that come near."""
        if name not in self.servers:
            raise ConfigError(
                f"there is no server {name!r} in {self._where()}; {did_you_mean(name, self.servers, 'servers')}"
            )
        return self.servers[name]

    def link(self, device: str, server: str) -> Link:
        """The link between the two. ConfigError when one of them is unknown, or no link is given."""
        self.device(device)
        self.server(server)
        for link in self.links:
            if (link.device, link.server) == (device, server):
                return link
        raise ConfigError(
            f"{self._where()} gives no link between {device} and {server}",
            f"Measure it: `edgewise link {device} {server}`.",
        )

    def select(self, names: Iterable[str]) -> list[Device]:
        """The devices that ``names`` mean, each once, in the order given.

        A name is a device, or ``@word``: the members of the group of that name and the devices with that tag,
        or every device for ``@all``. Commas separate names too. ConfigError lists near names.
        """
        chosen: dict[str, Device] = {}
        for name in (part.strip() for given in names for part in given.split(",")):
            if not name:
                continue
            members = self._members(name[1:]) if name.startswith("@") else [name]
            chosen.update((member, self.device(member)) for member in members)
        return list(chosen.values())

    def words(self) -> list[str]:
        """Every group and tag that ``@word`` may name, sorted, and "all"."""
        tags = {tag for device in self.devices.values() for tag in device.tags}
        return sorted(tags | set(self.groups) | {EVERYTHING})

    def _members(self, word: str) -> list[str]:
        if word not in self.words():
            near = did_you_mean(word, self.words(), "groups and tags")
            raise ConfigError(f"there is no group or tag {word!r} in {self._where()}; {near}")
        if word == EVERYTHING and word not in self.groups:
            return list(self.devices)
        tagged = [name for name, device in self.devices.items() if word in device.tags]
        return list(dict.fromkeys([*self.groups.get(word, ()), *tagged]))

    def _near(self, name: str) -> str:
        if name in self.words():
            return f"did you mean @{name}?"
        return did_you_mean(name, self.devices, "devices")

    def _where(self) -> str:
        return str(self.path) if self.path else f"the built-in inventory (no {FILE_NAME} was found)"


def find_inventory() -> Path | None:
    """The file that is used when none is named: $EDGEWISE_INVENTORY, ./devices.yaml, or the user's; None for
    none of them.

    The user's is ``devices.yaml`` in the platform's configuration folder for edgewise (platformdirs).
    """
    from platformdirs import user_config_path

    named = os.environ.get("EDGEWISE_INVENTORY")
    if named:
        return Path(named)
    for path in (Path(FILE_NAME), user_config_path("edgewise", appauthor=False) / FILE_NAME):
        if path.is_file():
            return path
    return None


def load_inventory(path: Path | str | None = None) -> Inventory:
    """The inventory of ``path``, else of find_inventory, else the built-in one.

    ConfigError names file, line and value.
    """
    found = Path(path) if path is not None else find_inventory()
    if found is None:
        return Inventory.builtin()
    return inventory_of(read_yaml(found), found)


def inventory_of(located: Located, path: Path) -> Inventory:
    """The checked inventory of a file that was read. Paths in it are taken from the file's folder."""
    refuse_secrets(located)
    document = _document(located)
    try:
        checked = InventoryFile.model_validate(document)
        devices = {name: Device(name=name, **_given(fields)) for name, fields in checked.devices.items()}
    except ValidationError as error:
        raise config_error(error, located) from error
    _check_references(checked, located)
    if devices[LOCAL].transport != "local":
        _fail(located, ("devices", LOCAL, "transport"), "`local` is this machine: its transport is local")
    folder = path.absolute().parent
    servers = {name: Server(name=name, **_given(fields)) for name, fields in checked.servers.items()}
    return Inventory(
        {name: _anchored(device, folder, "key_file", "known_hosts", "replay") for name, device in devices.items()},
        {name: _anchored(server, folder, "ca_file") for name, server in servers.items()},
        checked.links,
        checked.groups,
        path,
    )


def _document(located: Located) -> dict[str, Any]:
    """The file's mapping without empty sections, with `local`, and the defaults spread over the devices."""
    value = {} if located.value is None else located.value
    if not isinstance(value, dict):
        expected = ", ".join(InventoryFile.model_fields)
        raise ConfigError(f"{located.file}:1: the file holds no mapping, expected the keys {expected}")
    document = {key: section for key, section in value.items() if section is not None}
    defaults = document.get("defaults", {})
    devices = document.get("devices", {})
    if isinstance(devices, dict):
        document["devices"] = {
            name: _with_defaults(name, fields, defaults) for name, fields in ({LOCAL: None} | devices).items()
        }
    servers = document.get("servers", {})
    if isinstance(servers, dict):
        document["servers"] = {LOCAL: {"url": LOCAL_SERVER_URL}} | servers
    return document


def _with_defaults(name: str, given: Any, defaults: Any) -> Any:
    """A device's own fields over the defaults that it can take.

    `local` takes none: it is to work as it is.
    """
    fields = {} if given is None else given
    if not isinstance(fields, dict):
        return fields
    if name == LOCAL:
        return {"transport": "local", **fields}
    if not isinstance(defaults, dict):
        return fields
    transport = fields.get("transport") or ("adb" if fields.get("kind") == "android" else "ssh")
    merged = dict(fields)
    for key, value in defaults.items():
        takes = key in DefaultFields.model_fields and transport in TRANSPORTS_OF.get(key, (transport,))
        if not takes or (transport == "adb" and key in _NOT_FOR_ADB):
            continue
        if isinstance(value, dict) and isinstance(fields.get(key, {}), dict):
            merged[key] = value | fields.get(key, {})
        else:
            merged.setdefault(key, value)
    return merged


def _given(fields: Any) -> dict[str, Any]:
    return {key: getattr(fields, key) for key in fields.model_fields_set}


def _check_references(checked: InventoryFile, located: Located) -> None:
    for group, members in checked.groups.items():
        for index, name in enumerate(members):
            _known(name, checked.devices, "devices", located, ("groups", group, index))
    seen: set[tuple[str, str]] = set()
    for index, link in enumerate(checked.links):
        _known(link.device, checked.devices, "devices", located, ("links", index, "device"))
        _known(link.server, checked.servers, "servers", located, ("links", index, "server"))
        if (link.device, link.server) in seen:
            _fail(located, ("links", index), f"a second link between {link.device} and {link.server}")
        seen.add((link.device, link.server))


def _known(name: str, known: Iterable[str], what: str, located: Located, path: KeyPath) -> None:
    if name not in set(known):
        _fail(located, path, f"{name!r} is not under {what}; {did_you_mean(name, known, what)}")


def _fail(located: Located, path: KeyPath, message: str) -> None:
    raise ConfigError(f"{located.file}:{line_of(located, path)}: {dotted(path)}: {message}")


def _anchored(item: Any, folder: Path, *fields: str) -> Any:
    """The item with absolute host paths: ~ is the user's home, the rest starts at the file's folder."""
    update = {}
    for name in fields:
        value = getattr(item, name)
        if value is not None:
            update[name] = str(folder / Path(value).expanduser())
    return item.model_copy(update=update) if update else item
