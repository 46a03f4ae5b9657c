"""The failure codes an agent can report, with the hint that belongs to each.

A failure is always a record, never a missing answer: the host shows ``message`` (what happened, with the value) and
``hint`` (the next step). Codes are stable names; users' scripts match on them.
"""

from typing import Optional

HINTS = {
    "bad-spec": "The host and the agent disagree about the request; update edgewise and try again.",
    "bad-model": "Check the file: `edgewise inspect FILE` says what is in it; export it again if it is damaged.",
    "bad-input": "Give inputs that fit: `edgewise inspect FILE` lists each input's name, dtype and shape.",
    "missing-runtime": "Install the runtime on the device: `edgewise setup NAME`.",
    "unsupported-provider": "Choose one of the listed providers with --provider, or install a runtime that has it.",
    "unsupported-model": "The runtime on the device cannot run this model; export it for that version with --target.",
    "out-of-memory": "The device ran out of memory: use a smaller batch or model, or free memory on the device.",
    "crashed": "The runtime crashed in native code: try another runtime version, provider or thread count.",
    "hung": "No progress within the time limit: raise --hang-timeout, or try fewer threads or another provider.",
    "killed": "The worker was killed from outside: look at the device's kernel log.",
    "no-space": "The device's disk is full: `edgewise store NAME prune` frees what edgewise stored.",
    "stages-failed": "Try the functions with one item on this machine; the device has its own Python and numpy.",
    "command-failed": "Run the command by hand on the device to see what it says.",
    "unparsed-output": "The program's output was not understood: check its version and its preset.",
    "stopped": "The run was stopped before it was complete.",
    "too-hot": "Let the device cool down, or raise --cool-below or --cool-timeout.",
    "overheated": "The device went over its limit: cool it better, let it rest with --cool-below, or raise --max-temp.",
    "no-temperature": "No temperature of the chip can be read: see `edgewise devices NAME`, or leave the limit out.",
    "pin-failed": "Nothing was changed: do what the message says, or leave --pin out.",
    "intruder": "Something else keeps the device busy: end it, or measure all the same with --intruders warn.",
    "busy": "Wait until it has ended, or end it with --break-lock.",
    "internal": "This is a fault in edgewise: please report it with the output of --debug.",
}


class AgentFailure(RuntimeError):
    """A failure with its code; the supervisor turns it into a ``failure`` record.

    ``code`` is a key of HINTS. ``hint`` overrides the code's own hint when the thrower knows a better next step.
    """

    def __init__(self, code: str, message: str, hint: Optional[str] = None) -> None:
        if code not in HINTS:
            raise ValueError("unknown failure code {!r}".format(code))
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint or HINTS[code]
