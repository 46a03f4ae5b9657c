"""Files on their way to a device, and what lies there: the content-addressed store."""

from __future__ import annotations

from mobile.push.store import DeviceStore, StoredFile
from mobile.push.transfer import Pushed

__all__ = ["DeviceStore", "Pushed", "StoredFile"]
