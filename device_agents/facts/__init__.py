"""The facts of a device: what a measurement's row needs to explain itself, and nothing that identifies its owner.

No serial numbers, host names, user names or network addresses: facts travel in every run and report.
"""

import time
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from device_agents.facts import board, cpu, power_mode, software, system

__all__ = ["device_facts"]

Fact = Tuple[Any, Optional[str]]  # (value, None) or (None, why it is not known)


def device_facts(root: str = "/", probe_runtimes: bool = False, python_path: Sequence[str] = ()) -> Dict[str, Any]:
    """The facts as a JSON object; an unknown one is null, and ``missing`` says why: {key: reason}.

    model, soc, arch, cores, cpu_clusters [{cpus, max_hz, capacity}], governor, memory_bytes,
    memory_available_bytes, os, kernel, libc, python {version, executable, bits}, runtimes [{name, version,
    providers, python_path, error}], power_supply {source, battery}, power_mode {name, id} (Jetson), clocks_locked,
    clock_utc (ISO 8601; a board without a clock says 1970), and on a phone android {maker, release, sdk, build_type}.

    ``root``: where /sys, /proc and /etc are looked for. ``python_path``: folders searched for runtimes before the
    interpreter's own. ``probe_runtimes``: also import each runtime in a process of its own, for its providers and
    for what keeps it from loading; without it a version is read from the installed package and nothing is imported.
    """
    facts: Dict[str, Any] = {}
    missing: Dict[str, str] = {}
    readers: Dict[str, Callable[[str], Fact]] = {
        "model": board.model,
        "soc": board.soc,
        "arch": system.arch,
        "cores": cpu.cores,
        "cpu_clusters": cpu.clusters,
        "governor": cpu.governor,
        "memory_bytes": system.memory,
        "memory_available_bytes": system.memory_available,
        "os": system.os_name,
        "kernel": system.kernel,
        "power_supply": board.power_supply,
        "power_mode": power_mode.power_mode,
        "clocks_locked": power_mode.clocks_locked,
        "libc": software.libc,
    }
    for key, reader in readers.items():
        facts[key], reason = reader(root)
        if facts[key] is None:
            missing[key] = reason or "not known"
    phone = board.android_facts(root)
    if phone is not None:
        facts["android"] = phone
        if facts["os"] is None and phone["release"]:
            facts["os"] = "Android " + phone["release"]
            del missing["os"]
    facts["python"] = software.python()
    facts["runtimes"] = software.runtimes(python_path, probe_runtimes)
    if not facts["runtimes"]:
        missing["runtimes"] = "none of {} is installed for this Python".format(", ".join(software.RUNTIMES))
    facts["clock_utc"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    facts["missing"] = missing
    return facts
