"""Builds Android's debug daemon for this Linux machine from Debian's source package android-platform-tools.

The sources keep the daemon's guards for hosts that are not Android, so it compiles with a short header on
top. One line is left out: the one that also listens on a virtual-machine socket, which no network namespace
confines.

The daemon is an x86-64 program also on an aarch64 phone: all that it starts there is aarch64. It lives in a
root without a C library, so it is linked to a loader and libraries beside it, under /system/adbd. Hosts must
sign with a key that the phone lists in /adb_keys.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import debian
from tests.lab.process import LabError, run

PACKAGE = "android-platform-tools"

_TRIPLE = "x86_64-linux-gnu"
_ADB = "system/core/adb"
_AUTH = "frameworks/native/libs/adbd_auth"
_COMPAT = """\
#include <stdint.h>
#ifdef __cplusplus
#include <atomic>
#include <optional>
extern "C"
#endif
void fs_config(const char*, int, const char*, unsigned*, unsigned*, unsigned*, uint64_t*);
"""
_ADB_SOURCES = (
    *("adb", "adb_io", "adb_listeners", "adb_trace", "adb_unique_fd", "adb_utils", "fdevent/fdevent"),
    *("fdevent/fdevent_poll", "fdevent/fdevent_epoll", "services", "sockets", "socket_spec", "sysdeps/errno"),
    *("transport", "transport_fd", "transport_local", "transport_usb", "types", "sysdeps_unix"),
    *("sysdeps/posix/network", "shell_service_protocol", "adbconnection/adbconnection_server", "daemon/auth"),
    *("daemon/jdwp_service", "daemon/usb_dummy", "daemon/file_sync_service", "daemon/services"),
    *("daemon/shell_service", "daemon/main"),
)
_SOURCES = (
    *(f"{_ADB}/{name}.cpp" for name in _ADB_SOURCES),
    "system/core/diagnose_usb/diagnose_usb.cpp",
    f"{_AUTH}/adbd_auth.cpp",
    "system/core/libcrypto_utils/android_pubkey.c",
)
_INCLUDES = (
    *(_ADB, f"{_ADB}/daemon/include", f"{_ADB}/adbconnection/include", f"{_AUTH}/include"),
    *(f"system/core/{name}/include" for name in ("base", "libcutils", "liblog", "libcrypto_utils")),
    *("system/core/include", "system/core/diagnose_usb/include", "system/core/libasyncio/include"),
)
_FLAGS = (
    *("-O1", "-w", "-fPIC", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DADB_HOST=0", "-DNDEBUG", "-UDEBUG"),
    *("-DALLOW_ADBD_ROOT=0", '-DPLATFORM_TOOLS_VERSION="29.0.6"', '-DADB_VERSION="29.0.6"'),
)
_ANDROID_LIBRARIES = ("base", "cutils", "log", "crypto")
_SYSTEM_LIBRARIES = ("libresolv.so.2", "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6")


def build(target: Path) -> None:
    """Nothing; `target` holds the daemon `adbd`, its loader `ld.so` and its libraries (7.5 MB)."""
    work = target.with_name(target.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        sources = _fetch(work)
        objects = _compile(sources, work)
        target.mkdir()
        _link(objects, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch(work: Path) -> Path:
    """The folder with the unpacked sources. apt works on lists of its own: the machine's stay as they are."""
    (work / "lists/partial").mkdir(parents=True)
    listing = work / "sources.list"
    listing.write_text(f"deb-src {debian.archive()} {debian.SUITE} main\n")
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]
    apt += ["-o", f"Dir::Etc::SourceList={listing}", "-o", "Dir::Etc::SourceParts=/dev/null"]
    apt += ["-o", f"Dir::State::lists={work / 'lists'}"]
    run([*apt, "update"], timeout_s=180, cwd=work)
    run([*apt, "source", "--download-only", PACKAGE], timeout_s=600, cwd=work)
    descriptions = list(work.glob(f"{PACKAGE}_*.dsc"))
    if not descriptions:
        raise LabError(f"apt fetched no source package {PACKAGE}")
    run(["dpkg-source", "-x", "--no-check", descriptions[0], "src"], timeout_s=180, cwd=work)
    main = work / "src" / _ADB / "daemon/main.cpp"
    lines = main.read_text().splitlines(keepends=True)
    kept = [line for line in lines if 'push_back(android::base::StringPrintf("vsock:' not in line]
    if len(kept) != len(lines) - 1:
        raise LabError(f"{main}: the line that listens on a virtual-machine socket was not found")
    main.write_text("".join(kept))
    return work / "src"


def _compile(sources: Path, work: Path) -> list[Path]:
    """The object files."""
    compat = work / "compat.h"
    compat.write_text(_COMPAT)
    options = [
        *_FLAGS,
        "-include",
        str(compat),
        "-I/usr/include/android",
        *(f"-I{path}" for path in _INCLUDES),
    ]

    def compile_one(source: str) -> Path:
        made = work / (source.replace("/", "_") + ".o")
        compiler = ["clang"] if source.endswith(".c") else ["clang++", "-std=gnu++2a"]
        run([*compiler, *options, "-c", source, "-o", str(made)], timeout_s=300, cwd=sources)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, _SOURCES))


def _link(objects: list[Path], target: Path) -> None:
    """Nothing; the daemon and all that it is linked to are in `target`."""
    android = Path("/usr/lib", _TRIPLE, "android")
    libraries = [f"-l{name}" for name in (*_ANDROID_LIBRARIES, "pthread", "resolv", "util")]
    place = ["-Wl,--dynamic-linker=/system/adbd/ld.so", "-Wl,--disable-new-dtags", "-Wl,-rpath,/system/adbd"]
    run(
        ["clang++", "-fuse-ld=lld", "-o", target / "adbd", *objects, f"-L{android}", *libraries, *place],
        timeout_s=120,
    )
    for name in _ANDROID_LIBRARIES:
        shutil.copy(android / f"lib{name}.so.0", target)
    for name in _SYSTEM_LIBRARIES:
        shutil.copy(Path("/usr/lib", _TRIPLE, name), target)
    shutil.copy("/lib64/ld-linux-x86-64.so.2", target / "ld.so")
