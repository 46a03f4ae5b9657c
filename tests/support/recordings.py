"""Recordings of trees in tests, and what two roots have in common."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from device_agents.recording import Recorder
from device_agents.sensors import SensorError, find_sensors
from mobile.record.archive import write_archive


def record_tree(root: Path | str, passes: int = 2) -> dict[str, Any]:
    """The document of a tree, as the agent's verb gives it."""
    document = Recorder(str(root), passes=passes, pause_s=0.0).record()
    return json.loads(json.dumps(document))


def archive_of(root: Path | str, path: Path, passes: int = 2) -> Path:
    """The archive of a tree's recording, at ``path``."""
    path.write_bytes(write_archive(record_tree(root, passes)))
    return path


def look(root: Path | str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(descriptors, values or reasons by name) of a root, with the root itself taken out of every text."""
    sensors, descriptors = find_sensors(str(root))
    values: dict[str, Any] = {}
    refreshed: set[int] = set()
    for sensor in sensors:
        if sensor.source is not None and id(sensor.source) not in refreshed:
            refreshed.add(id(sensor.source))
            sensor.source.refresh()
        try:
            values[sensor.name] = sensor.read()
        except SensorError as error:
            values[sensor.name] = error.reason
    for sensor in sensors:
        sensor.close()
        if sensor.source is not None:
            sensor.source.close()
    without = json.loads(json.dumps(descriptors).replace(json.dumps(str(root))[1:-1], ""))
    return without, values


def change_member(archive: Path, name: str, text: str | bytes) -> Path:
    """The archive with one member's content replaced."""
    with zipfile.ZipFile(archive) as old:
        members = {member: old.read(member) for member in old.namelist()}
    members[name] = text if isinstance(text, bytes) else text.encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as new:
        for member, data in members.items():
            new.writestr(member, data)
    archive.write_bytes(target.getvalue())
    return archive
