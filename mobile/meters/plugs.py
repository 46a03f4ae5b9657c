"""Meters in the network: Shelly of every generation, and devices with Tasmota."""

from __future__ import annotations

from urllib.parse import quote

from mobile.meters.base import Info, MeterFault, Reading
from mobile.meters.http import MeterHttp
from mobile.meters.texts import json_object, shelly, shelly_component, shelly_gen1, tasmota

# What a plug may be off by where nothing better is said in the inventory: makers state a per cent or so of the reading,
# for loads far above those of a board, and nothing for small ones. Reports: useful from 10 W on, poor below a few W.
OFFSET_W = 1.0
GAIN = 0.02
ASSUMED = "assumed: no data sheet bounds a plug's error at the load of a board; offset_w and gain set it"

_METHODS = {"switch": "Switch", "pm1": "PM1", "em1": "EM1", "em": "EM"}


class Shelly:
    """A Shelly. Its generation, and the part of it that measures, are asked for once."""

    def __init__(self, http: MeterHttp, info: Info, channel: int = 0, component: str | None = None) -> None:
        self.info = info
        self._http = http
        self._channel = channel
        self._component = component
        self._first_generation: bool | None = None

    def read(self) -> Reading:
        """The values now. MeterFault with the reason when there are none."""
        if self._first_generation is None:
            generation = self._ask("/shelly").get("gen", 1)
            self._first_generation = not (isinstance(generation, int) and generation >= 2)
        if self._first_generation:
            return shelly_gen1(self._ask("/status"), self._channel, self.info.offset_w)
        if self._component is None:
            self._component = shelly_component(self._ask("/rpc/Shelly.GetStatus"), self._channel)
            if self._component is None:
                raise MeterFault(f"{self._http.name} measures no power on channel {self._channel}")
        path = f"/rpc/{_METHODS[self._component]}.GetStatus?id={self._channel}"
        return shelly(self._ask(path), self.info.offset_w)

    def close(self) -> None:
        """Ends a request that is in progress."""
        self._http.close()

    def _ask(self, path: str) -> dict[str, object]:
        document = json_object(self._http.get(path))
        if document is None:
            raise MeterFault(f"{self._http.name} does not answer with a JSON object: is it a Shelly?")
        return document


class Tasmota:
    """A device with Tasmota; ``Status 8`` is also what older releases call ``Status 10``."""

    def __init__(
        self, http: MeterHttp, info: Info, channel: int = 0, user: str = "admin", password: str | None = None
    ) -> None:
        self.info = info
        self._http = http
        self._channel = channel
        # Tasmota takes a password in the query (its documentation, "Commands", "With web requests").
        login = f"user={quote(user, safe='')}&password={quote(password, safe='')}&" if password is not None else ""
        self._path = f"/cm?{login}cmnd=Status%208"

    def read(self) -> Reading:
        """The values now. MeterFault with the reason when there are none."""
        document = json_object(self._http.get(self._path))
        if document is None:
            raise MeterFault(f"{self._http.name} does not answer with a JSON object: is it Tasmota?")
        if "WARNING" in document:  # {"WARNING":"Need user=<username>&password=<password>"}
            raise MeterFault(f"{self._http.name} asks for another password: see password_env")
        return tasmota(document, self._channel, self.info.offset_w)

    def close(self) -> None:
        """Ends a request that is in progress."""
        self._http.close()
