"""What devices.yaml may hold: the one source of its checks, its error messages and its JSON Schema.

Every model is frozen and refuses unknown keys. A field's ``description`` is what editors show.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mobile.inventory.units import RATE_PATTERN, SIZE_PATTERN, rate_bps, size_bytes

ANDROID_WORKDIR = "/data/local/tmp/edgewise"
LINUX_WORKDIR = "~/.edgewise"
LOCAL_SERVER_URL = "http://127.0.0.1:8620"

Kind = Literal["linux", "x86", "raspberry_pi", "jetson", "android"]
TransportName = Literal["local", "ssh", "adb"]
HostKeyPolicy = Literal["strict", "accept-new", "insecure"]
Provenance = Literal["real", "emulated", "slowed", "replayed"]
Engine = Literal["builtin", "ray", "triton"]
MeterKind = Literal["shelly", "tasmota", "command"]
ShellyComponent = Literal["switch", "pm1", "em1", "em"]

# None of these may begin with "-": they become arguments of programs, which would read an option.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:\[][A-Za-z0-9_.:%\[\]-]{0,254}$")]
User = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$")]
Serial = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Jump = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\[][A-Za-z0-9_.:@%\[\]-]{0,254}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1024}$")]
DevicePath = Annotated[str, StringConstraints(pattern=r"^(?:~|/)[^\x00-\x1f\x7f]{0,1023}$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(?:/[^\s?#@]*)?$")]
MeterUrl = Annotated[str, StringConstraints(pattern=r"^http://[A-Za-z0-9_\[][^\s/?#@]*/?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Cpu = Annotated[int, Field(ge=0, le=4095)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]


def _size(value: object) -> object:
    return _unit(value, size_bytes, 'a number of bytes, or a size such as "512 MiB"')


def _rate(value: object) -> object:
    return _unit(value, rate_bps, 'bits per second, or a rate such as "20 Mbit/s"')


def _unit(value: object, read: Any, expected: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return read(value)
    except ValueError as error:
        raise PydanticCustomError("unit", "{expected}", {"expected": expected}) from error


SizeBytes = Annotated[
    int,
    Field(ge=1, le=2**60),
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": SIZE_PATTERN}]}),
]
RateBps = Annotated[
    float,
    Field(ge=1, le=1e15),
    BeforeValidator(_rate),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 1}, {"type": "string", "pattern": RATE_PATTERN}]}),
]


class Model(BaseModel):
    """Base of all: frozen, unknown keys refused, no silent conversion (the text "22" is no port)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Limits(Model):
    """What a device must not exceed."""

    memory_bytes: SizeBytes | None = Field(
        default=None, description="Memory a model may take; bytes or a size as '512 MiB'."
    )
    disk_bytes: SizeBytes | None = Field(
        default=None, description="Disk that edgewise may fill there; bytes or '2 GB'."
    )
    max_temperature_c: float | None = Field(
        default=None, gt=-50, lt=200, description="A run above it stops, in degrees C."
    )


class Meter(Model):
    """An external power meter, read by the host while it follows a run (docs/meters.md)."""

    kind: MeterKind = Field(description="What it is: a Shelly, a Tasmota device, or a command that prints watts.")
    url: MeterUrl | None = Field(
        default=None, description="Address of the meter: http://HOST[:PORT] (shelly, tasmota)."
    )
    channel: Annotated[int, Field(ge=0, le=63)] = Field(default=0, description="Channel, counted from 0.")
    component: ShellyComponent | None = Field(
        default=None, description="Part of a Shelly that measures; left out, the first that the channel has."
    )
    user: User | None = Field(default=None, description="User name; left out, `admin` (shelly, tasmota).")
    password_env: EnvName | None = Field(
        default=None, description="Environment variable with the meter's password (shelly, tasmota)."
    )
    argv: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=64)] | None = Field(
        default=None, description="Program and arguments; it prints watts (command). No shell reads them."
    )
    stream: bool = Field(default=False, description="The command goes on and prints a line for each reading (command).")
    period_s: float | None = Field(
        default=None, ge=0.01, le=60, description="Time between two readings, in seconds; left out, 1."
    )
    scope: Text | None = Field(
        default=None, description="What is measured, in words; left out, the wall (shelly, tasmota)."
    )
    offset_w: float | None = Field(default=None, ge=0, le=1000, description="Error at most, in W, beside the gain's.")
    gain: float | None = Field(default=None, ge=0, le=1, description="Error at most, as a share of the reading.")

    @model_validator(mode="after")
    def _fits_together(self) -> Meter:
        takes = ("argv", "stream") if self.kind == "command" else ("url", "channel", "user", "password_env")
        needed = takes[0]
        if getattr(self, needed) is None:
            raise _conflict(needed, f"missing: a meter of kind {self.kind} needs `{needed}`")
        for field in ("argv", "stream", "url", "channel", "user", "password_env"):
            if field in self.model_fields_set and field not in takes:
                raise _conflict(field, f"a meter of kind {self.kind} does not take it")
        if "component" in self.model_fields_set and self.kind != "shelly":
            raise _conflict("component", f"a meter of kind {self.kind} does not take it")
        return self


class DefaultFields(Model):
    """Fields of a device that ``defaults`` may set for all devices that take them."""

    user: User | None = Field(default=None, description="User on the device (ssh).")
    port: Port | None = Field(default=None, description="Port; left out, the transport's usual one (ssh 22, adb 5555).")
    key_file: Text | None = Field(
        default=None, description="Private key (ssh); relative paths start at this file's folder."
    )
    passphrase_env: EnvName | None = Field(
        default=None, description="Environment variable with the key's passphrase (ssh)."
    )
    password_env: EnvName | None = Field(
        default=None, description="Environment variable with the user's password (ssh)."
    )
    known_hosts: Text | None = Field(
        default=None, description="File of known host keys; left out, ~/.ssh/known_hosts (ssh)."
    )
    host_key_policy: HostKeyPolicy = Field(
        default="strict",
        description="Unknown host keys: refused, accepted once and kept, or never checked (ssh).",
    )
    proxy_jump: Jump | None = Field(default=None, description="[user@]host[:port] to go through (ssh).")
    python: Text = Field(default="python3", description="The Python on the device that runs the agent.")
    workdir: DevicePath = Field(
        default=LINUX_WORKDIR,
        description=f"Folder for everything of edgewise there; on Android {ANDROID_WORKDIR}.",
    )
    limits: Limits = Field(default=Limits(), description="What the device must not exceed.")
    env: dict[EnvName, Text] = Field(default={}, description="Environment of the worker.")


class DeviceFields(DefaultFields):
    """One device, as it stands under its name in ``devices``."""

    kind: Kind = Field(default="linux", description="What the board is.")
    transport: TransportName = Field(
        default="ssh",
        description="How it is reached; left out: adb for kind android, else ssh (local for `local`).",
    )
    host: Host | None = Field(default=None, description="Address or name (ssh; adb over the network).")
    ssh_alias: Name | None = Field(default=None, description="A Host of ~/.ssh/config, whose settings are used (ssh).")
    serial: Serial | None = Field(default=None, description="Serial number as `adb devices` shows it (adb).")
    cpus: Annotated[tuple[Cpu, ...], Field(strict=False, min_length=1, max_length=4096)] | None = Field(
        default=None,
        description="CPUs that a benchmark's worker is bound to, unless the command says otherwise.",
    )
    tags: Names = Field(default=(), description="Words to select it by: `--on @word`.")
    provenance: Provenance = Field(
        default="real", description="Where its figures come from; tables show all but `real`."
    )
    replay: Text | None = Field(
        default=None,
        description="Folder with a replayed recording, whose sensors are read instead of this machine's (local);"
        " relative paths start at this file's folder.",
    )
    meter: Meter | None = Field(default=None, description="An external power meter that feeds the device.")
    slow_down: float | None = Field(
        default=None,
        gt=1,
        le=1000,
        description="Factor by which it is made slower on purpose; its provenance is then `slowed`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """The defaults that depend on another field."""
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        if filled.get("kind") == "android":
            filled.setdefault("transport", "adb")
            filled.setdefault("workdir", ANDROID_WORKDIR)
        if filled.get("transport") == "adb":
            filled.setdefault("kind", "android")
            filled.setdefault("workdir", ANDROID_WORKDIR)
        if filled.get("slow_down") is not None:
            filled.setdefault("provenance", "slowed")
        if filled.get("replay") is not None:
            filled.setdefault("provenance", "replayed")
        return filled

    @model_validator(mode="after")
    def _fits_together(self) -> DeviceFields:
        for field, transports in TRANSPORTS_OF.items():
            if field in self.model_fields_set and self.transport not in transports:
                raise _conflict(field, f"only a device with transport {' or '.join(transports)} takes it")
        if self.transport == "ssh" and not (self.host or self.ssh_alias):
            raise _conflict("host", "missing: a device with transport ssh needs `host` or `ssh_alias`")
        if self.transport == "adb" and self.host and self.serial:
            raise _conflict("serial", "give `serial` (USB or the adb server) or `host` (network), not both")
        if self.replay is not None and self.provenance == "real":
            raise _conflict("provenance", "the sensors of a device with replay are replayed, not real")
        if self.slow_down is not None and self.provenance != "slowed":
            raise _conflict("provenance", "a device with slow_down has provenance slowed")
        return self


TRANSPORTS_OF: dict[str, tuple[str, ...]] = {
    "host": ("ssh", "adb"),
    "port": ("ssh", "adb"),
    "serial": ("adb",),
    "replay": ("local",),
    "user": ("ssh",),
    "key_file": ("ssh",),
    "passphrase_env": ("ssh",),
    "password_env": ("ssh",),
    "known_hosts": ("ssh",),
    "host_key_policy": ("ssh",),
    "proxy_jump": ("ssh",),
    "ssh_alias": ("ssh",),
}
"""Fields that not every transport takes. Of ``defaults``, those a device cannot take are passed over."""


def _conflict(field: str, message: str) -> PydanticCustomError:
    """An error about ``field`` that only shows with the others; problems.py gives it the field's line."""
    return PydanticCustomError("conflict", "{words}", {"field": field, "words": message})


class Device(DeviceFields):
    """A named board.

    ``key_file`` and ``known_hosts`` are absolute paths on the host, ``workdir`` is one on the device.
    ``port`` is None where the transport's usual one is meant. ``provenance`` is "slowed" when ``slow_down``
    is set.
    """

    name: Name


class ServerFields(Model):
    """One edge server, as it stands under its name in ``servers``."""

    url: Url = Field(description="Base URL, without credentials.")
    token_env: EnvName | None = Field(default=None, description="Environment variable with the bearer token.")
    engine: Engine = Field(default="builtin", description="What runs there.")
    ca_file: Text | None = Field(
        default=None, description="Certificates to trust; relative paths start at this file's folder."
    )

    @field_validator("url")
    @classmethod
    def _has_a_port_in_range(cls, url: str) -> str:
        from urllib.parse import urlsplit

        try:
            _ = urlsplit(url).port
        except ValueError as error:
            raise PydanticCustomError("url", "a URL with a port from 1 to 65535") from error
        return url


class Server(ServerFields):
    """A named edge server. ``ca_file`` is an absolute path on the host."""

    name: Name


class Link(Model):
    """The way between a device and a server: bits per second, seconds, share of packets lost (0 to 1)."""

    device: Name = Field(description="A name under `devices`.")
    server: Name = Field(description="A name under `servers`.")
    uplink_bps: RateBps = Field(description="Device to server; bits per second or '20 Mbit/s'.")
    downlink_bps: RateBps = Field(description="Server to device; bits per second or '20 Mbit/s'.")
    rtt_s: float = Field(ge=0, le=3600, description="Round-trip time in seconds.")
    loss: float | None = Field(
        default=None, ge=0, lt=1, description="Share of packets lost, 0 to 1; left out: unknown."
    )
    assumed: bool = Field(default=True, description="False only for values that were measured.")


class InventoryFile(Model):
    """devices.yaml: the devices, edge servers and links that edgewise knows by name."""

    defaults: DefaultFields = Field(
        default=DefaultFields(), description="Fields for every device that does not set them."
    )
    devices: dict[Name, DeviceFields] = Field(default={}, description="Boards by name. `local` is always there.")
    groups: dict[Name, Names] = Field(default={}, description="Lists of device names, selected with `--on @name`.")
    servers: dict[Name, ServerFields] = Field(default={}, description="Edge servers by name. `local` is always there.")
    links: Annotated[tuple[Link, ...], Field(strict=False)] = Field(
        default=(), description="Ways from devices to servers."
    )
