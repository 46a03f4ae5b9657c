"""The root of an SSH board: a small Debian with sshd and Python, one user `edge`, keys only."""

from __future__ import annotations

from pathlib import Path

PACKAGES = (
    *("base-files", "base-passwd", "bash", "dash", "coreutils", "grep", "sed", "tar", "gzip", "findutils"),
    *("procps", "util-linux", "mount", "libc-bin", "mawk", "hostname", "iproute2", "openssh-server"),
    *("openssh-sftp-server", "python3", "python3-venv", "libstdc++6", "libgcc-s1"),
)
QEMU_CPU = "cortex-a72"  # qemu's default has features whose emulation is ten times slower

_SSHD = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers edge
UsePAM no
UseDNS no
PrintMotd no
Subsystem sftp internal-sftp
"""
_USERS = {"sshd": "x:100:65534::/run/sshd:/usr/sbin/nologin", "edge": "x:1000:1000::/home/edge:/bin/bash"}


def finish(root: Path, arch: str) -> None:
    """Nothing; an unpacked root has what the packages' own scripts would have made."""
    etc = root / "etc"
    masters = root / "usr/share/base-passwd"
    users = "".join(f"{name}:{entry}\n" for name, entry in _USERS.items())
    (etc / "passwd").write_text((masters / "passwd.master").read_text() + users)
    (etc / "group").write_text((masters / "group.master").read_text() + "edge:x:1000:\n")
    # "*" is "no password"; "!" would mean a locked account, which sshd refuses without PAM.
    (etc / "shadow").write_text("".join(f"{name}:*:19000::::::\n" for name in ("root", *_USERS)))
    (etc / "shadow").chmod(0o600)
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    (etc / "ssh/sshd_config").write_text(_SSHD + (f"SetEnv QEMU_CPU={QEMU_CPU}\n" if arch == "arm64" else ""))
    awk = root / "usr/bin/awk"
    if not awk.is_symlink():
        awk.symlink_to("mawk")
    home = root / "home/edge"
    home.mkdir(parents=True, exist_ok=True)
    (root / "run/sshd").mkdir(parents=True, exist_ok=True)
