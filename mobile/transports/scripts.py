"""What a transport asks of a device's shell, in POSIX words that coreutils, busybox and toybox all understand.

Data comes in as arguments and never becomes part of a script.
"""

from __future__ import annotations

# size_of: the bytes of a file, 0 when there is none. busybox's wc counts in 32 bits and reads the whole file, so it is
# asked only where there is no stat as Linux has it (macOS); some put spaces before the number. No shell arithmetic:
# Android's shell computes with 32 bits.
SIZE = """
size_of() { stat -L -c %s "$1" 2>/dev/null || { set -- $(wc -c <"$1"); echo "${1:-0}"; }; }
"""

# flush: what was written to a file or folder is on the storage. toybox has fsync, GNU's sync takes a file, and every
# sync flushes all there is.
FLUSH = """
flusher=sync
if command -v fsync >/dev/null 2>&1; then flusher=fsync; fi
flush() { $flusher "$1" 2>/dev/null || sync; }
"""

# Argument: a path whose folder is to be made.
_MAKE_FOLDER = """
make_folder() {
    case $1 in */*) set -- "${1%/*}"; [ -z "$1" ] || mkdir -p "$1" || exit 1;; esac
}
"""

# Arguments: temporary path, target.
_REFUSE_FOLDER = """
[ ! -d "$2" ] || { echo "$2: Is a directory" >&2; exit 1; }
"""

# Arguments: temporary path, target, size in bytes, mode in octal.
_FINISH = """
got=$(size_of "$1")
[ "$got" = "$3" ] || { echo "$got of $3 bytes arrived" >&2; exit 1; }
chmod "$4" "$1" && flush "$1" && mv -f "$1" "$2"
"""

MAKE_FOLDER = _MAKE_FOLDER + 'make_folder "$1"'
FINISH_PUT = f'{SIZE}{FLUSH} ({_REFUSE_FOLDER}{_FINISH}) || {{ rm -f "$1"; exit 1; }}'
REMOVE = 'rm -f "$1"'

# The bytes come on stdin. Whatever ends this, also a signal or the loss of the link, the temporary file goes.
PUT = (
    SIZE
    + FLUSH
    + _MAKE_FOLDER
    + f"""
make_folder "$2"
{_REFUSE_FOLDER}
trap 'rm -f "$1"; exit 1' HUP INT TERM
(cat >"$1" && {{ {_FINISH} }}) || {{ rm -f "$1"; exit 1; }}
"""
)

# Argument: path. Answers the size in bytes, a line, then the bytes.
PREPARE_GET = f"""{SIZE}
[ -e "$1" ] || {{ echo "$1: No such file or directory" >&2; exit 1; }}
[ -f "$1" ] || {{ echo "$1: Not a file" >&2; exit 1; }}
[ -r "$1" ] || {{ echo "$1: Permission denied" >&2; exit 1; }}
size_of "$1"
"""
GET = (
    PREPARE_GET
    + """
exec cat "$1"
"""
)

# Arguments: log, then the command. Answers the process id, which leads its group where there is a setsid.
START = (
    _MAKE_FOLDER
    + """
log=$1
shift
make_folder "$log"
: >"$log" || exit 1
case $1 in
    */*) [ -e "$1" ] || { echo "$1: not found" >&2; exit 127; }
        [ -x "$1" ] && [ ! -d "$1" ] || { echo "$1: not executable" >&2; exit 126; };;
    *) command -v "$1" >/dev/null 2>&1 || { echo "$1: not found" >&2; exit 127; };;
esac
if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
(trap '' HUP; exec "$@") </dev/null >"$log" 2>&1 &
echo "$!"
"""
)

# Arguments: process id, name of the signal. The group if it leads one, else the process.
KILL = """
kill -s "$2" -- "-$1" 2>/dev/null || kill -s "$2" "-$1" 2>/dev/null || kill -s "$2" "$1" 2>/dev/null
exit 0
"""
