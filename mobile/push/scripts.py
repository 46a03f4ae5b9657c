"""What the store asks of a device, in POSIX shell: coreutils, busybox, toybox and macOS all understand it.

Data comes in as arguments and never becomes part of a script. Nothing is computed with sizes: mksh, Android's shell,
does so in 32 bits. No program is asked to read a part of a pipe:
toybox's `head` takes more than it gives on, and its `dd` may be missing. `head -c` is for files only, and a stream is
read to its end.
"""

from __future__ import annotations

from mobile.transports.scripts import FLUSH, SIZE

INDEX_NAME = ".edgewise-chunks"  # beside the files of an artifact: what mobile.push.index writes
PART = "part"  # what follows the hash in the name of an incoming file that nobody works on

HOME = """printf '%s' "$HOME" """

# digest: the SHA-256 of its input. It never sees a name: sha256sum escapes odd ones in what it prints.
_DIGEST = """
hasher=
for name in sha256sum shasum toybox busybox python3; do
    if command -v $name >/dev/null 2>&1; then hasher=$name; break; fi
done
[ -n "$hasher" ] || { echo 'no sha256sum, shasum, toybox, busybox or python3' >&2; exit 1; }
digest() {
    case $hasher in
        sha256sum) set -- $(sha256sum);;
        shasum) set -- $(shasum -a 256);;
        python3) set -- $(python3 -c 'import hashlib, sys
h = hashlib.sha256()
for b in iter(lambda: sys.stdin.buffer.read(1 << 20), b""): h.update(b)
print(h.hexdigest())');;
        *) set -- $($hasher sha256sum);;
    esac
    [ -n "$1" ] || { echo "$hasher: no SHA-256" >&2; return 1; }
    printf '%s' "$1"
}
"""

# larger: whether the first of two sizes is. No arithmetic: they may not fit into the shell's numbers.
_LARGER = """
larger() { [ ${#1} -gt ${#2} ] || { [ ${#1} = ${#2} ] && [ "$1" \\> "$2" ]; }; }
"""

# An incoming file's name ends in who works on it: PID-GROUP-START-BOOT, unique for ever. START is in the kernel's
# ticks; without /proc it is 0. alive: whether that process, or another of its group, is still there.
# The kernel gives no number away that is still a group's. Who has ended but is not yet buried (Z) writes no more.
_OWNER = """
boot=none
[ ! -r /proc/sys/kernel/random/boot_id ] || read -r boot </proc/sys/kernel/random/boot_id
boot=${boot%%-*}
stat_of() {
    line=$(cat "/proc/$1/stat" 2>/dev/null)
    if [ -n "$line" ]; then
        set -- ${line##*') '}
        echo "$3 ${20}"
    else
        group=$(ps -o pgid= -p "$1" 2>/dev/null) && echo $group 0 || echo 0 0
    fi
}
group_alive() {
    [ "$1" -gt 1 ] || return 1
    kill -0 -- "-$1" 2>/dev/null || kill -0 "-$1" 2>/dev/null || return 1
    [ -d /proc/1 ] || return 0
    group=$1
    cat /proc/[0-9]*/stat 2>/dev/null | {
        while read -r line; do
            set -- ${line##*') '}
            if [ "$3" = "$group" ] && [ "$1" != Z ]; then exit 0; fi
        done
        exit 1
    }
}
alive() {
    [ "$4" = "$boot" ] || return 1
    if kill -0 "$1" 2>/dev/null; then
        set -- "$2" "$3" $(stat_of "$1")
        [ "$2" = "$4" ] || return 1
        set -- 0 "$1"
    fi
    group_alive "$2"
}
words() { (IFS=-; set -- $1; IFS=' '; echo "$@"); }
"""

# Arguments: incoming folder, the store's folder, 1 to hash what is there, how many chunk indexes are wanted, then path,
# size and SHA-256 of each file. Answers lines: "have" or "need" for each file, after it "part OWNER SIZE STATE" for
# what is there of it; then "unpack" when there is a gunzip, "df ..." and "index FOLDER JSON", newest first.
PREPARE = (
    _DIGEST
    + SIZE
    + _OWNER
    + f"""
mkdir -p "$1" || exit 1
incoming=$1 store=$2 recheck=$3 newest=$4
shift 4
while [ $# -gt 0 ]; do
    if [ -f "$1" ] && [ "$(size_of "$1")" = "$2" ] && {{ [ "$recheck" = 0 ] || [ "$(digest <"$1")" = "$3" ]; }}
    then echo have; else echo need; fi
    for part in "$incoming/$3".*; do
        [ -f "$part" ] || continue
        owner=${{part##*.}} state=free
        if [ "$owner" != {PART} ]; then
            if alive $(words "$owner"); then state=alive; else state=dead; fi
        fi
        echo "part $owner $(size_of "$part") $state"
    done
    shift 3
done
for tool in gzip gunzip zcat; do
    if command -v "$tool" >/dev/null 2>&1; then echo unpack; break; fi
done
df -Pk "$incoming" 2>/dev/null | while read -r line; do echo "df $line"; done
if [ "$newest" -gt 0 ] && cd "$store" 2>/dev/null; then
    ls -td ./*/*/ 2>/dev/null | while [ "$newest" -gt 0 ] && read -r place; do
        [ -f "${{place}}{INDEX_NAME}" ] || continue
        printf 'index %s ' "$place"
        cat "${{place}}{INDEX_NAME}"
        echo
        newest=$((newest - 1))
    done
fi
exit 0
"""
)

GONE = 3
DAMAGED = 4
BUSY = 5

# Arguments: incoming folder, SHA-256, owner, a number of bytes. Ends what is left of that owner, gives its file the
# name of one that nobody works on (of two, the longer stays), and answers the SHA-256 of its first bytes.
CLAIM = (
    _DIGEST
    + SIZE
    + _LARGER
    + _OWNER
    + f"""
nap() {{ sleep 0.1 2>/dev/null || sleep 1; }}
end() {{
    if ! alive "$@"; then return 0; fi
    set -- "$2" $(stat_of $$)
    [ "$1" -gt 1 ] && [ "$1" != "$2" ] || return 1
    for signal in TERM KILL; do
        kill -s $signal -- "-$1" 2>/dev/null || kill -s $signal "-$1" 2>/dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            if ! group_alive "$1"; then return 0; fi
            nap
        done
    done
    return 1
}}
cd "$1" || exit {GONE}
part=$2.{PART} theirs=$2.$3
if [ "$3" != {PART} ]; then
    end $(words "$3") || exit {BUSY}
    if [ -f "$theirs" ]; then
        if [ -f "$part" ] && larger "$(size_of "$part")" "$(size_of "$theirs")"
        then rm -f "$theirs"; else mv -f "$theirs" "$part"; fi
    fi
fi
[ -f "$part" ] || exit {GONE}
[ "$4" = 0 ] || head -c "$4" "$part" | digest
"""
)

# Arguments: incoming folder, SHA-256, 1 to go on with what is there, how many bytes of it, size, target, "raw" or
# "packed", 1 when the file is complete after this, its folder's chunk index or nothing; then five words for each
# operation: a file, an offset, the offset and 1, a length to copy, and how long the file is then; or "-", 0, 1, the
# length of what stdin brings, and how long the file is then.
#
# The file is written under its owner's name, so no two processes ever write one. While it grows, `follow` reads it back
# and hands it to the hash, woken by the ticks and the "end" of `receive`, and about once a second what is there is
# flushed: soon after the last byte has come, its hash is there and it is on the storage.
# Answers "owner OWNER", then "stored", "kept", or "failed WHY AT".
RECEIVE = (
    _DIGEST
    + SIZE
    + FLUSH
    + _OWNER
    + f"""
incoming=$1 sha=$2 claim=$3 keep=$4 size=$5 target=$6 mode=$7 final=$8 index=$9
shift 9
umask 022
trap '' PIPE  # when nobody listens any more, what follows is still to be done
part=$incoming/$sha.{PART}
name_of() {{ set -- "$1" $(stat_of "$1"); echo "$1-$2-$3-$boot"; }}
owner=$(name_of $$)
echo "owner $owner"
me=$incoming/$sha.$owner
exec 6>&1
trap 'exit 1' HUP INT TERM
trap 'code=$?; [ ! -f "$me" ] || mv -f "$me" "$part"; exit $code' EXIT
shorten() {{
    truncate -s "$2" "$1" 2>/dev/null || dd if=/dev/null of="$1" bs=1 seek="$2" count=0 2>/dev/null
    [ "$(size_of "$1")" = "$2" ] || {{ head -c "$2" "$1" >"$1.short" && mv -f "$1.short" "$1"; }}
}}
range() {{
    if [ -n "$skips" ]; then
        dd if="$1" bs=1048576 skip="$2" count="$4" iflag=skip_bytes,count_bytes,fullblock 2>/dev/null
    else tail -c "+$3" "$1" 2>/dev/null | head -c "$4"
    fi
}}
unpack() {{
    if command -v gzip >/dev/null 2>&1; then gzip -dc
    elif command -v gunzip >/dev/null 2>&1; then gunzip -c
    else zcat
    fi
}}
fill() {{
    while [ $# -gt 0 ]; do
        code=0
        case $1$mode in
            -packed) unpack >>"$me" || code=$?;;
            -*) cat >>"$me" || code=$?;;
            *) range "$1" "$2" "$3" "$4" >>"$me" || code=$?;;
        esac
        now=$(size_of "$me")
        if [ "$now" != "$5" ] || [ $code != 0 ]; then
            case $1 in -) why=stream;; *) why=copy;; esac
            echo "failed $why $now" >&6
            return 1
        fi
        shift 5
    done
}}
receive() {{
    while kill -0 $$ 2>/dev/null && sleep "$tick" && echo; do
        ticks=$(((ticks + 1) % 4))
        [ $ticks != 0 ] || flush "$me"
    done 2>/dev/null </dev/null 6>&- &
    ticker=$!
    fill "$@"
    echo end
    {{ kill -KILL $ticker; wait $ticker; }} 2>/dev/null  # mksh, whose sleep is its own, holds the outputs until then
}}
follow() {{
    while read -r line && [ "$line" != end ]; do cat <&5; done
    cat <&5
}}
if [ "$claim" = 1 ]; then mv -f "$part" "$me" 2>/dev/null || exit {GONE}
else : >"$me" || exit 1
fi
[ "$(size_of "$me")" = "$keep" ] || shorten "$me" "$keep" || exit 1
skips=
[ "$(printf 123 | dd bs=2 skip=1 count=1 iflag=skip_bytes,count_bytes,fullblock 2>/dev/null)" != 2 ] || skips=1
if [ "$final" = 0 ]; then
    fill "$@" || exit 1
    echo kept
    exit 0
fi
tick=0.25 ticks=0
sleep 0.01 2>/dev/null || tick=1
got=$(receive "$@" | follow 5<"$me" | digest) || exit 1
[ "$(size_of "$me")" = "$size" ] || exit 1
[ "$got" = "$sha" ] || {{ echo "SHA-256 is $got, expected $sha" >&2; exit {DAMAGED}; }}
flush "$me" || exit 1
place=${{target%/*}}
named=0
for _ in 1 2 3; do  # a prune may take the folder away between its making and its use
    [ -d "$place" ] || mkdir -p "$place" || exit 1
    [ -z "$index" ] || printf '%s' "$index" >"$place/{INDEX_NAME}"
    if mv -f "$me" "$target"; then named=1; break; fi
done
[ $named = 1 ] || exit 1
flush "$place"
[ ! -f "$part" ] || rm -f "$part"
echo stored
"""
)

# Arguments: incoming folder and SHA-256. What is there of that file is of no use.
FORGET = f"""rm -f "$1/$2.{PART}" """

# Argument: the store's folder. Answers "SIZE PATH" and a NUL for each file.
LIST = f"""
[ -d "$1" ] || exit 0
find "$1" -type f -exec sh -c '{SIZE}
for f; do printf "%s %s\\0" "$(size_of "$f")" "$f"; done' sh {{}} +
"""

# Arguments: incoming folder, 1 to remove cut pushes from it at once, the store's folder, then the files to remove, with
# the folders that become empty by it. What has lain in the incoming folder for more than a day goes in any case.
PRUNE = f"""
if [ -d "$1" ]; then
    find "$1" -type f -mtime +0 -exec rm -f {{}} +
    if [ "$2" = 1 ]; then rm -f "$1"/*.{PART}; fi
fi
store=$3
shift 3
for f; do
    rm -f "$f" || exit 1
    d=${{f%/*}}
    while [ "$d" != "$store" ]; do
        [ "$(ls -A "$d")" != {INDEX_NAME} ] || rm -f "$d/{INDEX_NAME}"
        rmdir "$d" 2>/dev/null || break
        d=${{d%/*}}
    done
done
exit 0
"""

# Arguments: folders and files. Removes them, and their parent when that is empty then.
REMOVE = """
rm -rf "$@" || exit 1
rmdir "${1%/*}" 2>/dev/null
exit 0
"""
