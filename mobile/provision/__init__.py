"""What a device lacks to run models, found out, built on the host, and put there by its content.

::

    WORKDIR/runtimes/<sha256>/    one layer: an interpreter, wheels, or C++ libraries; never changed once it is there
    WORKDIR/runtime.json          which of them are used, and how the agent is started

Nothing outside the working folder is touched, and nothing there needs root.
"""

from __future__ import annotations

from mobile.provision.runtime import DeviceRuntime, runtime_for

__all__ = ["DeviceRuntime", "runtime_for"]
