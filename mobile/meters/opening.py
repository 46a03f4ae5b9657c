"""The meter of a device, as its inventory describes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mobile.errors import ConfigError
from mobile.meters.base import PERIOD_S, WALL, Info, Meter
from mobile.meters.command import CommandMeter, StreamMeter
from mobile.meters.http import MeterHttp
from mobile.meters.plugs import ASSUMED, GAIN, OFFSET_W, Shelly, Tasmota

if TYPE_CHECKING:
    from mobile.inventory.models import Meter as MeterFields


def open_meter(fields: MeterFields) -> Meter:
    """The meter; nothing is contacted before it is read. ConfigError when its password's variable is not set."""
    if fields.kind == "command":
        argv = fields.argv or ()
        info = _info(fields, "a command's meter", None, None, None)
        return StreamMeter(argv, info) if fields.stream else CommandMeter(argv, info)
    user, password = fields.user or "admin", _password(fields)
    if fields.kind == "shelly":
        http = MeterHttp(fields.url or "", user, password)
        return Shelly(http, _info(fields, WALL, 0.1, OFFSET_W, GAIN), fields.channel, fields.component)
    http = MeterHttp(fields.url or "", user, None)
    info = _info(fields, WALL, 1.0, OFFSET_W, GAIN)  # whole watts, unless its WattRes says otherwise
    return Tasmota(http, info, fields.channel, user, password)


def _info(
    fields: MeterFields, scope: str, resolution_w: float | None, offset_w: float | None, gain: float | None
) -> Info:
    given = fields.offset_w is not None or fields.gain is not None
    source = "the inventory" if given else ASSUMED if offset_w is not None else None
    return Info(
        name=f"meter.{fields.kind}",
        kind=fields.kind,
        scope=fields.scope or scope,
        period_s=fields.period_s or PERIOD_S,
        resolution_w=resolution_w,
        offset_w=fields.offset_w if fields.offset_w is not None else offset_w,
        gain=fields.gain if fields.gain is not None else gain,
        accuracy_source=source,
    )


def _password(fields: MeterFields) -> str | None:
    if fields.password_env is None:
        return None
    password = os.environ.get(fields.password_env)
    if password is None:
        raise ConfigError(
            f"the meter's password_env names {fields.password_env}, which is not set",
            f"export {fields.password_env}=... in the shell that starts edgewise",
        )
    return password
