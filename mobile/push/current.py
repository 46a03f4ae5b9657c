"""Which stored model is in use on a device, under the model's own name: switched in one step, and back.

::

    WORKDIR/current/<name>              a symbolic link to the model's file in the store; where there are no links
                                        (/sdcard), a file that holds its path
    WORKDIR/current/.history/<name>     what was in use and since when, oldest first

The link says what is in use; the history only helps to go back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from mobile.deadline import Deadline
from mobile.errors import TransportError, UsageError
from mobile.push.store import DeviceStore
from mobile.transports.scripts import FLUSH

KEPT_ENTRIES = 20

# Arguments: working folder, name, what the link points to (relative to its folder), the model's path, its history.
# One rename switches: a reader finds the old model or the new one. Where links are not possible (/sdcard), a file holds
# the path. Answers "link" or "file".
_SWITCH = (
    FLUSH
    + """
cd "$1" && mkdir -p current/.history && cd current || exit 1
[ -f "$4" ] || { echo "$4: No such file or directory" >&2; exit 1; }
new=.new.$$ kind=link
trap 'rm -f "$new"' EXIT
printf '%s' "$5" >"$new" && mv -f "$new" "./.history/$2" || exit 1
flush "$4"
if ! ln -s "$3" "$new" 2>/dev/null; then
    kind=file
    printf '%s\\n' "$4" >"$new" && flush "$new" || exit 1
fi
mv -fT "$new" "./$2" 2>/dev/null || mv -f "$new" "./$2" || exit 1
flush .
echo $kind
"""
)

# Argument: working folder. Answers for each model in use its name, what it points to, and its history, each with a NUL.
_CURRENT = """
cd "$1/current" 2>/dev/null || exit 0
for name in *; do
    if [ -L "$name" ]; then target=$(readlink "$name")
    elif [ -f "$name" ]; then target=$(cat "./$name")
    else continue
    fi
    printf '%s\\0%s\\0' "$name" "$target"
    cat "./.history/$name" 2>/dev/null
    printf '\\0'
done
exit 0
"""


@dataclass(frozen=True)
class Version:
    """A version that was switched to: its address in the store, and when by the host's clock (UTC)."""

    address: str
    switched_utc: str


@dataclass(frozen=True)
class InUse:
    """A model in use. ``address`` is None when what it points to is none of the store's."""

    name: str
    address: str | None
    history: tuple[Version, ...]

    def before(self, addresses: set[str]) -> int | None:
        """The history's index of the version before this one, among those that are still there."""
        places = [number for number, entry in enumerate(self.history) if entry.address == self.address]
        end = places[-1] if places else len(self.history)
        for number in range(end - 1, -1, -1):
            entry = self.history[number]
            if entry.address in addresses and entry.address != self.address:
                return number
        return None


def in_use(store: DeviceStore, *, deadline: Deadline) -> list[InUse]:
    """The models in use on the device, by name."""
    done = store.shell(deadline).ask(_CURRENT, [store.folder(deadline)], deadline)
    fields = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    found = [_in_use(*fields[start : start + 3]) for start in range(0, len(fields) - 2, 3)]
    return sorted(found, key=lambda model: model.name)


def switch(store: DeviceStore, path: str, *, deadline: Deadline) -> str:
    """The path under which the stored model ``path`` is now in use: WORKDIR/current/<name>.

    UsageError for a path that is none of a stored file; RemoteFileError when there is none.
    """
    address, name = _stored_place(store, path, deadline)
    entry = Version(address, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    known = next((model for model in in_use(store, deadline=deadline) if model.name == name), None)
    history = known.history if known else ()
    if known and known.address == address:  # in use already: nothing to go back from
        return f"{store.folder(deadline)}/current/{name}"
    return _switch(store, name, address, (*history, entry), deadline)


def roll_back(store: DeviceStore, name: str, *, deadline: Deadline) -> tuple[str, Version]:
    """The path and the version that are in use now: the one before. UsageError when there is none."""
    models = in_use(store, deadline=deadline)
    model = next((model for model in models if model.name == name), None)
    device = store.shell(deadline).name
    if model is None:
        there = ", ".join(model.name for model in models) or "nothing"
        raise UsageError(
            f"{device}: {name!r} is not in use there; in use: {there}", hint="`edgewise push` puts it there"
        )
    addresses = {file.address for file in store.stored(deadline=deadline) if file.name == name}
    number = model.before(addresses)
    if number is None:
        raise UsageError(
            f"{device}: there is no version of {name} before the one in use",
            hint=f"`edgewise store {device} list` shows what is there",
        )
    version = model.history[number]
    return _switch(store, name, version.address, model.history[: number + 1], deadline), version


def kept_addresses(models: list[InUse], versions: int) -> set[str]:
    """The addresses that a prune spares: of each model the one in use and those before it, ``versions`` in all."""
    kept: set[str] = set()
    for model in models:
        found: list[str] = [model.address] if model.address else []
        for entry in reversed(model.history):
            if entry.address not in found:
                found.append(entry.address)
        kept.update(found[:versions])
    return kept


def _switch(store: DeviceStore, name: str, address: str, history: tuple[Version, ...], deadline: Deadline) -> str:
    folder = store.folder(deadline)
    place = f"store/{address[:2]}/{address}/{name}"
    lines = "".join(f"{entry.switched_utc} {entry.address}\n" for entry in history[-KEPT_ENTRIES:])
    arguments = [folder, name, f"../{place}", f"{folder}/{place}", lines]
    answer = store.shell(deadline).ask(_SWITCH, arguments, deadline).stdout
    if answer.strip() not in (b"link", b"file"):
        raise TransportError(f"{store.shell(deadline).name}: not an answer of the store: {answer[:80]!r}")
    return f"{folder}/current/{name}"


def _stored_place(store: DeviceStore, path: str, deadline: Deadline) -> tuple[str, str]:
    root = f"{store.folder(deadline)}/store/"
    parts = path[len(root) :].split("/") if path.startswith(root) else []
    if len(parts) != 3 or parts[2].startswith("."):
        raise UsageError(f"{path!r} is no model of the store that can be in use under its name")
    return parts[1], parts[2]


def _in_use(name: str, target: str, history: str) -> InUse:
    parts = target.strip("\n").split("/")
    inside = len(parts) >= 4 and parts[-4] == "store" and parts[-1] == name and parts[-2][:2] == parts[-3]
    entries = [line.split() for line in history.splitlines()]
    versions = tuple(Version(words[1], words[0]) for words in entries if len(words) == 2)
    return InUse(name, parts[-2] if inside else None, versions)
