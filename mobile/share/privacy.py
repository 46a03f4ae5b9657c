"""What identifies a person, a network or one single board is taken out of a run before it is handed on.

The patterns are those of a board's recording (device_agents/redaction.py). Beside them: what the inventory says of
where devices are, hosts and credentials in URLs, values of environment variables, and whatever stands under a name such
as `token`. The same value becomes the same marker everywhere in one archive. Words of edgewise's own vocabulary are
left alone, so that a run stays readable whatever its user is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from device_agents.redaction import Redactor, own_names

if TYPE_CHECKING:
    from mobile.inventory import Inventory

# Members whose text is edgewise's own, or an identity that has to stay.
LEFT_ALONE = frozenset(
    {
        *(
            "id",
            "created_utc",
            "provenance",
            "quantity",
            "unit",
            "scope",
            "state",
            "runner",
            "task",
            "format",
            "sha256",
        ),
        *("code", "phase", "kind", "governor", "provider", "preset", "verdict", "schema", "type", "coding"),
    }
)
# Members whose whole text is such a value, by the redactor's own names of files.
_WHOLE = {
    "hostname": "hostname",
    "host_name": "hostname",
    "nodename": "hostname",
    "serial": "serial",
    "serial_number": "serial",
    "serialno": "serial",
    "mac": "address",
    "address": "address",
    "machine_id": "machine-id",
    "uuid": "uuid",
}
_BY_SENSOR = ("reasons", "columns")
_HIDDEN = "(?:token|password|passphrase|passwd|secret|api[_-]?key|authorization|credentials?|private[_-]?key)"
_SECRET_KEY = re.compile(rf"(?:^|[_.-]){_HIDDEN}\Z", re.IGNORECASE)
_SECRET_OPTION = re.compile(rf"--?(?:[\w-]*[_-])?{_HIDDEN}\Z", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    rf"(?P<key>\bbearer\s+|\b{_HIDDEN}[\"']?\s*[=:]\s*[\"']?)(?P<value>[^\s\"'&;,]{{4,512}})", re.IGNORECASE
)
# The forms of tokens that say by themselves what they are: GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS, JWT.
_KNOWN_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abpr]-|AKIA)[A-Za-z0-9_-]{12,256}"
    r"|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,2048}\.[A-Za-z0-9_-]{10,4096}\.[A-Za-z0-9_-]{0,2048}"
)
_URL = re.compile(
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{1,16}://)(?P<user>[^/\s@\"']{1,256}@)?"
    r"(?P<host>\[[0-9A-Fa-f:.%]{2,64}\]|[^/\s:?#\"'\]@]{1,253})(?P<place>[^\s\"'?#]{0,1024})(?P<query>[?#][^\s\"']{0,1024})?"
)
_HERE = frozenset(("localhost", "127.0.0.1", "[::1]"))
_PLAIN_VALUE = re.compile(r"[0-9][0-9.,:-]{0,15}|on|off|true|false|yes|no", re.IGNORECASE)
_MARKER = re.compile(r"redacted-[a-z-]+-\d+")


class Privacy:
    """Takes such values out of documents. ``counts`` says how often, by kind; never what it was."""

    def __init__(self, names: Iterable[tuple[str, str]] = ()) -> None:
        known = sorted({*own_names(), *names}, key=lambda pair: (-len(pair[1]), pair))
        self._redactor = Redactor(tuple(known))
        self._markers: dict[tuple[str, str], str] = {}
        self._own: dict[str, int] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How often something was taken out, by kind."""
        kinds = sorted({*self._own, *self._redactor.counts})
        return {kind: self._own.get(kind, 0) + self._redactor.counts.get(kind, 0) for kind in kinds}

    def text(self, text: str) -> str:
        """The text with markers in it."""
        text = _URL.sub(self._url, text)
        text = _SECRET_TEXT.sub(lambda found: found["key"] + self._marker("secret", found["value"]), text)
        text = _KNOWN_TOKEN.sub(lambda found: self._marker("secret", found[0]), text)
        return self._redactor.text(text)

    def document(self, value: Any, key: str = "") -> Any:
        """The JSON value with markers in the texts of it; members keep their names where edgewise gave them."""
        if isinstance(value, str):
            return self._member(key, value)
        if isinstance(value, Mapping):
            return self._object(value, key)
        if isinstance(value, (list, tuple)):
            return self._list(value, key)
        return value

    def sensor(self, name: str) -> str:
        """The name of a sensor, which may have an address in it ("hid-aa:bb:cc:dd:ee:ff-battery")."""
        return self.text(name)

    def _object(self, value: Mapping[str, Any], key: str) -> dict[str, Any]:
        if key == "env":
            return {name: self._variable(name, text) for name, text in value.items()}
        if key in _BY_SENSOR:
            return {self.sensor(str(name)): self.document(item, str(name)) for name, item in value.items()}
        found = {self._name(name): self.document(item, str(name)) for name, item in value.items()}
        if key == "events" and isinstance(value.get("name"), str):
            found["name"] = value["name"]
        return found

    def _list(self, values: Iterable[Any], key: str) -> list[Any]:
        found: list[Any] = []
        secret_next = False
        for value in values:
            hidden = secret_next and isinstance(value, str)
            found.append(self._marker("secret", value) if hidden else self.document(value, key))
            secret_next = isinstance(value, str) and _SECRET_OPTION.fullmatch(value) is not None
        return found

    def _member(self, key: str, value: str) -> str:
        if key in LEFT_ALONE:
            return value
        if _SECRET_KEY.search(key) and value:
            return self._marker("secret", value)
        if key.lower() in _WHOLE and value:
            return self._redactor.content(_WHOLE[key.lower()], value)
        return self.text(value)

    def _name(self, name: object) -> str:
        """A member's name: a plain word is edgewise's own, anything else may be a sensor or a path."""
        text = str(name)
        return text if text.replace("_", "a").isalnum() and text.isascii() else self.text(text)

    def _variable(self, name: str, value: Any) -> Any:
        plain = not isinstance(value, str) or (_PLAIN_VALUE.fullmatch(value) and not _SECRET_KEY.search(name))
        return value if plain else self._marker("value", value)

    def _url(self, found: re.Match[str]) -> str:
        here = found["host"].lower() in _HERE or _MARKER.fullmatch(found["host"])
        host = found["host"] if here else self._marker("host", found["host"].lower())
        user = self._marker("secret", found["user"]) + "@" if found["user"] else ""
        query = found["query"][0] + self._marker("query", found["query"]) if found["query"] else ""
        return f"{found['scheme']}{user}{host}{found['place']}{query}"

    def _marker(self, kind: str, value: str) -> str:
        if _MARKER.fullmatch(value.rstrip("@")):
            return value.rstrip("@")
        self._own[kind] = self._own.get(kind, 0) + 1
        number = sum(1 for known, _ in self._markers if known == kind) + 1
        return self._markers.setdefault((kind, value), f"redacted-{kind}-{number}")


def names_in(inventory: Inventory) -> list[tuple[str, str]]:
    """(kind, text) of what an inventory says of where devices are and who is on them; names of devices stay."""
    found: list[tuple[str, str]] = []
    for device in inventory.devices.values():
        for field, kind in (("host", "host"), ("serial", "serial"), ("user", "user-name"), ("proxy_jump", "host")):
            value = getattr(device, field, None)
            if value:
                found.append((kind, str(value)))
        if device.meter is not None and device.meter.url:
            found.append(("host", device.meter.url.split("://", 1)[-1].split("/")[0].split(":")[0]))
    for server in inventory.servers.values():
        host = server.url.split("://", 1)[-1].split("/")[0]
        found.append(("host", host.rsplit(":", 1)[0]))
    return [(kind, text) for kind, text in found if text.lower() not in _HERE]


def neutral(value: Any) -> Any:
    """The JSON value with every marker alike, to compare what two archives made of one run."""
    if isinstance(value, str):
        return _MARKER.sub("redacted", value)
    if isinstance(value, Mapping):
        return {neutral(str(key)): neutral(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [neutral(item) for item in value]
    return value
