"""The root of a phone: Android's layout, shell and toybox; no Python, and no C library in its usual place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.lab.process import LabError, run

PACKAGES = ("toybox", "mksh", "libc6", "libcrypt1")
SHELL_UID = 2000

_TRIPLES = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_ABIS = {"amd64": "x86_64", "arm64": "arm64-v8a"}
_PROPERTIES = """\
ro.product.manufacturer=edgewise
ro.product.model=Virtual Phone
ro.product.device=vphone
ro.product.cpu.abi={abi}
ro.product.cpu.abilist={abi}
ro.build.version.sdk=33
ro.build.version.release=13
ro.hardware=virt
"""
_GETPROP = """\
#!/system/bin/sh
while IFS="=" read -r key value; do
  [ -z "$1" ] && echo "[$key]: [$value]"
  [ "$key" = "$1" ] && { echo "$value"; exit 0; }
done </system/build.prop
[ -z "$1" ] || echo "$2"
"""
_DUMPSYS = """\
#!/system/bin/sh
if [ "$1" = battery ]; then
  echo "Current Battery Service state:"
  echo "  AC powered: false"
  echo "  level: 87"
  echo "  temperature: 312"
else
  echo "Can't find service: $1" >&2
  exit 1
fi
"""


def finish(root: Path, arch: str) -> None:
    """Nothing; an unpacked Debian root has become a phone's."""
    system = root / "system"
    _take_programs(root, system, _TRIPLES[arch])
    for path in root.iterdir():
        if path != system:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("data/local/tmp", "data/misc/adb", "dev", "proc", "sys", "sdcard", "tmp", "system/adbd"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("system/bin")
    (root / "etc").symlink_to("system/etc")
    _link_toys(root)
    _write_texts(system, _ABIS[arch])
    for name, mode in (("data/local/tmp", 0o771), ("sdcard", 0o770)):
        os.chown(root / name, SHELL_UID, SHELL_UID)
        (root / name).chmod(mode)


def _take_programs(root: Path, system: Path, triple: str) -> None:
    for name in ("bin", "lib64", "etc"):
        (system / name).mkdir(parents=True)
    libraries = [root / "lib" / triple, root / "usr/lib" / triple]
    # This mksh is linked statically: it is Android's shell, and it needs nothing.
    shell = root / "usr/lib" / triple.replace("gnu", "musl") / "bin/mksh"
    shutil.copy2(shell, system / "bin/sh")
    shutil.copy2(_first([root / "bin/toybox", root / "usr/bin/toybox"]), system / "bin/toybox")
    for name in ("libc.so.6", "libm.so.6", "libcrypt.so.1"):
        shutil.copy2(_first([folder / name for folder in libraries]).resolve(), system / "lib64" / name)
    loader = _first([path for folder in libraries for path in sorted(folder.glob("ld-linux-*.so.*"))])
    shutil.copy2(loader, system / "bin/linker64")
    loading = ["--set-interpreter", "/system/bin/linker64", "--force-rpath", "--set-rpath", "/system/lib64"]
    run(["patchelf", *loading, system / "bin/toybox"])


def _first(paths: list[Path]) -> Path:
    for path in paths:
        if path.exists():
            return path
    raise LabError(f"the unpacked packages lack {paths[0].name if paths else 'the dynamic loader'}")


def _link_toys(root: Path) -> None:
    for name in run(["chroot", root, "/system/bin/toybox"]).stdout.split():
        link = root / "system/bin" / name
        if "/" not in name and not link.exists():
            link.symlink_to("toybox")


def _write_texts(system: Path, abi: str) -> None:
    (system / "etc/passwd").write_text(
        f"root:x:0:0::/:/system/bin/sh\nshell:x:{SHELL_UID}:{SHELL_UID}::/:/system/bin/sh\n"
    )
    (system / "etc/group").write_text(f"root:x:0:\nshell:x:{SHELL_UID}:\n")
    (system / "build.prop").write_text(_PROPERTIES.format(abi=abi))
    for name, text in (("getprop", _GETPROP), ("dumpsys", _DUMPSYS)):
        program = system / "bin" / name
        program.unlink(missing_ok=True)
        program.write_text(text)
        program.chmod(0o755)
