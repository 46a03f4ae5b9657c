"""How an ssh device is reached: the inventory's fields, completed from ~/.ssh/config as ssh itself would."""

from __future__ import annotations

import getpass
import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko

from mobile.errors import ConfigError
from mobile.transports.ssh_hosts import SYSTEM_FILE

if TYPE_CHECKING:
    from mobile.transports import Address

DEFAULT_PORT = 22
_MAX_JUMPS = 8
_MAX_INCLUDES = 16  # OpenSSH's own limit
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # OpenSSH's own, those that paramiko can use


@dataclass(frozen=True)
class SshSettings:
    """One hop, complete. ``jump`` is the hop before it."""

    device: str  # for messages
    host: str
    port: int
    user: str
    key_files: tuple[str, ...]  # asked for by name; a missing one is an error only if ``key_required``
    key_required: bool
    passphrase_env: str | None
    password_env: str | None
    known_hosts: tuple[str, ...]
    policy: str
    jump: SshSettings | None

    @property
    def where(self) -> str:
        """For messages: USER@HOST, with the port where it is not the usual one."""
        return f"{self.user}@{self.host}" + ("" if self.port == DEFAULT_PORT else f":{self.port}")


def settings_of(device: Address) -> SshSettings:
    """The hops to a device. ConfigError when ~/.ssh/config cannot be read or asks for what is not supported."""
    name = device.ssh_alias or device.host
    if not name:
        raise ConfigError(f"{device.name}: an ssh device needs `host` or `ssh_alias`")
    config = _config()
    entry = config.lookup(name)
    _refuse_proxy_command(device.name, entry)
    host = device.host if device.host and device.ssh_alias else entry.get("hostname", name)
    named_keys = (device.key_file,) if device.key_file else ()
    return SshSettings(
        device=device.name,
        host=host.strip("[]"),
        port=device.port or _port(entry),
        user=device.user or entry.get("user") or getpass.getuser(),
        key_files=named_keys or _keys(entry),
        key_required=bool(named_keys),
        passphrase_env=device.passphrase_env,
        password_env=device.password_env,
        known_hosts=_known_hosts(entry, device.known_hosts),
        policy=device.host_key_policy,
        jump=_jump(device, device.proxy_jump or entry.get("proxyjump"), config, _MAX_JUMPS),
    )


def _jump(device: Address, hops: str | None, config: Any, left: int) -> SshSettings | None:
    if not hops or hops.lower() == "none":
        return None
    if not left:
        raise ConfigError(f"{device.name}: more than {_MAX_JUMPS} jumps, or they lead in a circle")
    before, _, last = hops.rpartition(",")
    user, host, port = _split(device.name, last.strip())
    entry = config.lookup(host)
    _refuse_proxy_command(device.name, entry)
    return SshSettings(
        device=f"{device.name}, jump {host}",
        host=entry.get("hostname", host),
        port=port or _port(entry),
        user=user or entry.get("user") or getpass.getuser(),
        key_files=_keys(entry) if not device.key_file else (device.key_file, *_keys(entry)),
        key_required=False,
        passphrase_env=device.passphrase_env,
        password_env=None,  # the device's password is not shown to other hosts
        known_hosts=_known_hosts(entry, device.known_hosts),
        policy=device.host_key_policy,
        jump=_jump(device, before or entry.get("proxyjump"), config, left - 1),
    )


def _split(device: str, hop: str) -> tuple[str | None, str, int | None]:
    user, _, address = hop.rpartition("@")
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (host.count(":") and not host.startswith("[")):
        host, port = address, ""  # no port: a name, or a bare IPv6 address
    if not host or (port and not port.isdigit()):
        raise ConfigError(f"{device}: proxy_jump is {hop!r}, expected [user@]host[:port]")
    return user or None, host.strip("[]"), int(port) if port else None


def _config() -> Any:
    path = Path("~/.ssh/config").expanduser()
    try:
        return paramiko.SSHConfig.from_text("\n".join(_config_lines(path, _MAX_INCLUDES)))
    except FileNotFoundError:
        return paramiko.SSHConfig()
    except (OSError, UnicodeDecodeError, paramiko.ssh_exception.ConfigParseError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _config_lines(path: Path, depth: int) -> Iterator[str]:
    """The file's lines, with those of the files that it includes in their place; paramiko passes Include over."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.replace("=", " ", 1).split()
        if not words or words[0].lower() != "include":
            yield line
            continue
        if not depth:
            raise ConfigError(f"{path}: Include goes deeper than {_MAX_INCLUDES} files")
        for pattern in words[1:]:
            place = str(path.home() / ".ssh" / Path(pattern.strip('"')).expanduser())
            for included in sorted(glob.glob(place)):  # noqa: PTH207 - Path.glob takes no absolute pattern
                yield from _config_lines(Path(included), depth - 1)


def _refuse_proxy_command(device: str, entry: Any) -> None:
    command = entry.get("proxycommand")
    if command and command.lower() != "none":
        raise ConfigError(
            f"{device}: ~/.ssh/config sets ProxyCommand for it, which edgewise does not run",
            hint="use ProxyJump, or `proxy_jump` in devices.yaml",
        )


def _port(entry: Any) -> int:
    port = entry.get("port", str(DEFAULT_PORT))
    if not port.isdigit():
        raise ConfigError(f"~/.ssh/config: Port is {port!r}, expected a number")
    return int(port)


def _keys(entry: Any) -> tuple[str, ...]:
    named = entry.get("identityfile")
    if named:
        return tuple(str(Path(name).expanduser()) for name in named)
    return tuple(str(Path("~/.ssh").expanduser() / name) for name in _DEFAULT_KEYS)


def _known_hosts(entry: Any, named: str | None) -> tuple[str, ...]:
    files = [named] if named else entry.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    return (*(str(Path(file).expanduser()) for file in files), SYSTEM_FILE)
