"""The programs of a replayed board: shell scripts that answer as the real ones did, call by call."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable

from mobile.record.document import ProgramRun, RecordedProgram

DATA = "/usr/share/edgewise-replay"
MIN_REST_S = 0.02  # between two lines: a loop without rest would take a processor
LATE_S = 3600.0  # a program that did not answer in time: whoever calls it has a limit of his own

_SCRIPT = """\
#!/bin/sh
# {name} as it was recorded on a board: each call prints the next of its answers, and begins again after the last.
data=${{0%/*}}/{data}
case $#:$* in
{cases}*) echo "{name}: not recorded with these arguments: $*" >&2; exit 1 ;;
esac
turn=$(cat "$data/$set.turn" 2>/dev/null)
case $turn in ''|*[!0-9]*) turn=0 ;; esac
{{ echo $(( (turn + 1) % count )) >"$data/$set.turn"; }} 2>/dev/null || turn=$(( $(date +%s) % count ))
[ "$turn" -lt "$count" ] || turn=0
read -r took code <"$data/$set.$turn.end"
if [ -f "$data/$set.$turn.lines" ]; then  # it runs on
    while :; do
        while read -r rest line; do sleep "$rest"; printf '%s\\n' "$line"; done <"$data/$set.$turn.lines"
    done
fi
sleep "$took"
cat "$data/$set.$turn.err" >&2
cat "$data/$set.$turn.out"
exit "$code"
"""


def program_files(path: str, programs: Iterable[RecordedProgram]) -> dict[str, str]:
    """{path: text} of the script at ``path`` and of what it prints; ``programs`` are one program's argument sets.

    The script itself comes last.
    """
    name = posixpath.basename(path)
    folder = f"{DATA}/{name}"
    cases, files = [], {}
    for number, program in enumerate(programs):
        words = shlex.quote(f"{len(program.arguments)}:{' '.join(program.arguments)}")
        cases.append(f"{words}) set={number} count={len(program.runs)} ;;\n")
        for turn, run in enumerate(program.runs):
            base = f"{folder}/{number}.{turn}"
            files[f"{base}.out"] = run.stdout
            files[f"{base}.err"] = run.stderr if run.error is None else f"{name}: {run.error}\n"
            if run.line_s and run.error is None:
                files[f"{base}.lines"] = _lines(run)
            files[f"{base}.end"] = f"{LATE_S if run.late else run.took_s:.6f} {_code(run)}\n"
    data = posixpath.relpath(folder, posixpath.dirname(path))
    files[path] = _SCRIPT.format(name=name, data=data, cases="".join(cases))
    return files


def _lines(run: ProgramRun) -> str:
    """Each line behind the rest before it, in seconds; a short one where lines came together."""
    before, text = 0.0, ""
    for line_s, line in zip(run.line_s, run.stdout.splitlines(), strict=False):
        text += f"{max(line_s - before, MIN_REST_S):.3f} {line}\n"
        before = max(before, line_s)
    return text


def _code(run: ProgramRun) -> int:
    """The exit code as a shell has it: 128 and the number of a signal, 126 for what did not start."""
    if run.exit is None:
        return 126
    return run.exit if run.exit >= 0 else min(128 - run.exit, 255)
