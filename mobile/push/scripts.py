"""What the store asks of a device, in POSIX shell: coreutils, busybox, toybox and macOS all understand it.

Data comes in as arguments and never becomes part of a script.
"""

from __future__ import annotations

HOME = """printf '%s' "$HOME" """

# The file is read through the shell: sha256sum escapes odd names in what it prints, and it never sees one so.
_HASH = """
hash_of() {
    if command -v sha256sum >/dev/null 2>&1; then set -- $(sha256sum <"$1")
    elif command -v shasum >/dev/null 2>&1; then set -- $(shasum -a 256 <"$1")
    elif command -v toybox >/dev/null 2>&1; then set -- $(toybox sha256sum <"$1")
    elif command -v busybox >/dev/null 2>&1; then set -- $(busybox sha256sum <"$1")
    elif command -v python3 >/dev/null 2>&1; then
        set -- $(python3 -c 'import hashlib, sys
h = hashlib.sha256()
for b in iter(lambda: sys.stdin.buffer.read(1 << 20), b""): h.update(b)
print(h.hexdigest())' <"$1")
    else echo 'no sha256sum, shasum, toybox, busybox or python3' >&2; return 1
    fi
    [ -n "$1" ] || { echo 'the program for SHA-256 failed' >&2; return 1; }
    printf '%s' "$1"
}
"""

# Arguments: incoming folder, 1 to hash what is there, then path, size and SHA-256 of each file.
# Answers "have" or "need" for each file, a line each, then what df says of the folder.
PREPARE = (
    _HASH
    + """
mkdir -p "$1" || exit 1
incoming=$1 recheck=$2
shift 2
while [ $# -gt 0 ]; do
    if [ -f "$1" ] && [ "$(($(wc -c <"$1")))" = "$2" ] &&
        { [ "$recheck" = 0 ] || [ "$(hash_of "$1")" = "$3" ]; }
    then echo have; else echo need; fi
    shift 3
done
df -Pk "$incoming" 2>/dev/null
exit 0
"""
)

GONE = 3
DAMAGED = 4

# Arguments: temporary path, path and SHA-256 of each file. All are checked before the first is moved.
FINISH = (
    _HASH
    + f"""
check() {{
    while [ $# -gt 0 ]; do
        [ -f "$1" ] || exit {GONE}
        got=$(hash_of "$1") || exit 1
        [ "$got" = "$3" ] || {{ echo "SHA-256 is $got, expected $3" >&2; exit {DAMAGED}; }}
        shift 3
    done
}}
check "$@"
while [ $# -gt 0 ]; do
    mkdir -p "${{2%/*}}" && mv -f "$1" "$2" || exit 1
    shift 3
done
"""
)

REMOVE = """rm -f "$@" """

# Argument: the store's folder. Answers "SIZE PATH" and a NUL for each file.
LIST = """
[ -d "$1" ] || exit 0
find "$1" -type f -exec sh -c 'for f; do printf "%s %s\\0" "$(($(wc -c <"$f")))" "$f"; done' sh {} +
"""

# Arguments: incoming folder, the store's folder, then the files to remove, with the folders that become empty by it.
# What has lain in the incoming folder for more than a day is what is left of a push that was cut.
PRUNE = """
[ ! -d "$1" ] || find "$1" -type f -mtime +0 -exec rm -f {} +
store=$2
shift 2
for f; do
    rm -f "$f" || exit 1
    d=${f%/*}
    while [ "$d" != "$store" ] && rmdir "$d" 2>/dev/null; do d=${d%/*}; done
done
exit 0
"""

# Arguments: folders. Removes them, and their parent when that is empty then.
REMOVE_FOLDERS = """
rm -rf "$@" || exit 1
rmdir "${1%/*}" 2>/dev/null
exit 0
"""
