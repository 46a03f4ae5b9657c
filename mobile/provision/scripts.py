"""What set-up asks of a device, in POSIX shell: coreutils, busybox and toybox all understand it.

No script needs Python or root, and none changes anything outside the working folder. Data comes in as arguments. Each
is under 2 KiB, since an old adbd takes no longer command.
"""

from __future__ import annotations

# Answers KEY<tab>VALUE lines: what the system is.
SYSTEM = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
say lang "${LC_ALL:-${LC_CTYPE:-$LANG}}"
say charmap "$(locale charmap 2>/dev/null)"
say ld_library_path "$LD_LIBRARY_PATH"
LC_ALL=C; export LC_ALL
say machine "$(uname -m)"
say system "$(uname -s)"
say kernel "$(uname -r)"
say uid "$(id -u)"
say elf "$(head -c 20 /proc/self/exe 2>/dev/null | od -An -v -tx1 | while read -r a; do printf '%s ' "$a"; done)"
v=$(getconf GNU_LIBC_VERSION 2>/dev/null)
[ -n "$v" ] || v=$(ldd --version 2>&1 | head -n 1)
case $v in *[0-9].[0-9]*) ;; *)
    for f in /lib/*-linux-gnu*/libc.so.6 /lib64/libc.so.6 /lib/libc.so.6; do
        [ ! -x "$f" ] || { v=$("$f" 2>/dev/null | head -n 1); break; }
    done;;
esac
say libc "$v"
for f in /lib/ld-musl-*; do [ ! -e "$f" ] || say musl "$f"; done
for f in /usr/lib/*/libstdc++.so.6 /lib/*/libstdc++.so.6 /usr/lib64/libstdc++.so.6 /usr/lib/libstdc++.so.6; do
    [ ! -e "$f" ] || say libstdcxx "$f"
done
while read -r key value _; do
    case $key in MemTotal: | MemAvailable:) say "$key" "$value";; esac
done </proc/meminfo 2>/dev/null
say clock "$(date -u +%s)"
for t in tar gzip sha256sum; do ! command -v $t >/dev/null 2>&1 || say tool $t; done
[ ! -r /etc/nv_tegra_release ] || say jetson "$(head -n 1 /etc/nv_tegra_release)"
for f in /proc/device-tree/model /sys/firmware/devicetree/base/model; do
    [ ! -r "$f" ] || { say model "$(cat "$f")"; break; }
done
! command -v getprop >/dev/null 2>&1 || {
    say android "$(getprop ro.build.version.release)"
    say model "$(getprop ro.product.model)"
}
exit 0
"""

# Argument: the inventory's Python. Answers a line "python<tab>PATH|VERSION|BITS|IMPLEMENTATION|ABIFLAGS" for each one
# that starts, and PATH|broken for one that does not.
PYTHONS = r"""
code='import sys, struct, platform
print("%d.%d.%d|%d|%s|%s" % (sys.version_info[0], sys.version_info[1], sys.version_info[2],
    struct.calcsize("P") * 8, platform.python_implementation(), getattr(sys, "abiflags", "")))'
seen=
for p in "$1" python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
    f=$(command -v "$p" 2>/dev/null) || continue
    r=$(readlink -f "$f" 2>/dev/null) || r=$f
    case $seen in *"|$r|"*) continue;; esac
    seen="$seen|$r|"
    v=$("$f" -S -c "$code" 2>/dev/null </dev/null) || v=broken
    printf 'python\t%s|%s\n' "$f" "$v"
done
exit 0
"""

# Argument: the working folder. Makes it, writes into it, executes from it, and leaves it as it was.
PLACE = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
LC_ALL=C; export LC_ALL
d=$1
while [ ! -d "$d" ]; do d=${d%/*}; [ -n "$d" ] || d=/; done
say df "$(df -Pk "$d" 2>/dev/null | tail -n 1)"
shell=/bin/sh
[ ! -x /system/bin/sh ] || shell=/system/bin/sh
t=$1/.edgewise-probe-$$
place() {  # through cat: a shell's own printf has no words for a full disk
    mkdir -p "$1" && printf '#!%s\nexit 0\n' "$shell" | cat >"$t" && [ -s "$t" ] && chmod 700 "$t" && echo ok
}
say write "$(place "$1" 2>&1)"
[ ! -f "$t" ] || say exec "$( ("$t" && echo ok) 2>&1)"
rm -f "$t" 2>/dev/null
[ "$d" = "$1" ] || rmdir "$1" 2>/dev/null
say tmp "$( ( : >"${TMPDIR:-/tmp}/.edgewise-probe-$$" && rm -f "${TMPDIR:-/tmp}/.edgewise-probe-$$" && echo ok) 2>&1)"
exit 0
"""

# Answers what the login shell prints before a command, as it does for every command over ssh: bash reads its start-up
# files when it finds itself started by sshd with nothing above it.
NOISE = r"""
[ -n "$SHELL" ] && [ -n "$SSH_CLIENT" ] || exit 0
SHLVL=0 "$SHELL" -c : 2>/dev/null </dev/null | head -c 400
exit 0
"""

# Arguments: archive, folder of the layers, address, a new name, Python or "", 1 to replace one that is there. Unpacks,
# and shows the layer only whole: the last file of every archive is the mark. The name of what is being unpacked ends
# with the process that does it; where that is gone, it was cut, and what it left goes.
UNPACK = r"""
archive=$1 final=$2/$3 new=$2/.new-$4-$$ python=$5
give_up() { rm -rf "$new"; [ -z "$1" ] || echo "$1" >&2; exit 1; }
for old in "$2"/.new-*; do
    [ ! -d "$old" ] || kill -0 "${old##*-}" 2>/dev/null || rm -rf "$old"
done
if [ "$6" = 1 ] || [ ! -f "$final/.edgewise-layer" ]; then
    trap 'give_up interrupted' HUP INT TERM
    mkdir -p "$new" || give_up
    for z in 'gzip -dc' 'gunzip -c' zcat none; do ! command -v "${z%% *}" >/dev/null 2>&1 || break; done
    if command -v tar >/dev/null 2>&1 && [ "$z" != none ]; then
        (cd "$new" && $z <"$archive" | tar -xof -) || give_up
    elif [ -n "$python" ]; then
        code='import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])'
        "$python" -c "$code" "$archive" "$new" || give_up
    else give_up 'there is neither tar and gzip nor Python to unpack with'
    fi
    [ -f "$new/.edgewise-layer" ] || give_up 'the archive was not unpacked whole'
    sync
    [ ! -d "$final" ] || rm -rf "$final" || give_up
    mv "$new" "$final" || give_up
fi
rm -f "$archive"
d=${archive%/*}
rmdir "$d" "${d%/*}" 2>/dev/null
exit 0
"""
