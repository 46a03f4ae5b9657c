"""Layers onto a device: sent as one archive each, unpacked beside their place, shown by a rename."""

from __future__ import annotations

import contextlib
import io
import secrets
from typing import TYPE_CHECKING

from mobile.deadline import Deadline
from mobile.errors import RemoteFileError, SetupError
from mobile.provision import scripts
from mobile.provision.layers import Layer
from mobile.provision.runtime import FILE_NAME, FOLDER_NAME, Record
from mobile.transports.base import Transport
from mobile.transports.refusals import refusal

if TYPE_CHECKING:
    from mobile.push import DeviceStore


def place(store: DeviceStore, layer: Layer, deadline: Deadline) -> str:
    """The path of the layer's folder on the device."""
    return f"{store.folder(deadline)}/{FOLDER_NAME}/{layer.address}"


def needed_bytes(layers: list[Layer]) -> int:
    """Free disk that the layers take on the way: the largest archive is there while it is unpacked."""
    if not layers:
        return 0
    return sum(layer.unpacked_bytes for layer in layers) + max(layer.archive_bytes for layer in layers)


def put_layer(
    transport: Transport,
    store: DeviceStore,
    layer: Layer,
    python: str | None,
    deadline: Deadline,
    *,
    replace: bool = False,
) -> str:
    """The path of the layer's folder, once it is there whole. With ``replace``, one that is there is put anew."""
    archive = store.put_file(layer.archive, f"{layer.name}.tar.gz", deadline=deadline)
    parent = f"{store.folder(deadline)}/{FOLDER_NAME}"
    arguments = [archive, parent, layer.address, secrets.token_hex(8), python or "", "1" if replace else "0"]
    done = transport.run(["sh", "-c", scripts.UNPACK, "sh", *arguments], deadline=deadline, env={"LC_ALL": "C"})
    if not done.ok:
        raise refusal(transport.name, parent, done)
    return f"{parent}/{layer.address}"


def put_record(transport: Transport, store: DeviceStore, record: Record, deadline: Deadline) -> None:
    """Nothing, once runtime.json says so; from then on every run uses it."""
    transport.put(record.to_json(), f"{store.folder(deadline)}/{FILE_NAME}", deadline=deadline)


def put_where_it_differs(transport: Transport, content: bytes, target: str, deadline: Deadline) -> bool:
    """Whether the device had another file there, or none; it has the content afterwards."""
    there = io.BytesIO()
    with contextlib.suppress(RemoteFileError):
        transport.get(target, there, deadline=deadline)
    if there.getvalue() == content:
        return False
    transport.put(content, target, deadline=deadline)
    return True


def check_loaded(device: str, wanted: list[str], errors: dict[str, str]) -> None:
    """Nothing, or SetupError when a runtime that was brought does not load there; nothing was switched then."""
    from mobile.provision.plan import explain

    if errors:
        words = "; ".join(f"{module}: {explain(error)}" for module, error in errors.items())
        raise SetupError(
            f"{device}: what was set up does not load there: {words}",
            hint="nothing was switched: runs go on with what was used before; `edgewise doctor NAME` says more",
        )
    if wanted:
        raise SetupError(f"{device}: {' and '.join(wanted)} cannot be imported there after the set-up")
