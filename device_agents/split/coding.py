"""Times codecs on this device: seconds to encode and to decode each value that may cross, as it really looks."""

import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from device_agents.failures import AgentFailure
from device_agents.npz import read_npz
from device_agents.split.codecs import Range, available, decode, encode, parse
from device_agents.split.frames import CodecError

SHORTEST_S = 0.02  # of one timing, and at least FEWEST rounds
FEWEST, MOST = 3, 1000
DEFAULT_LIMIT_S = 60.0


def answer_to(document: Any) -> Dict[str, Any]:
    """The answer to the host's order {files: [{path, values: [{name, dtype, shape, range}]}], codecs, limit_s}.

    {times: [{value, codec, size_bytes, coded_bytes, encode_s, decode_s}], missing: {codec: why}, problem: null or why
    it ended early}; {"error": {kind, message}} when the order cannot be understood or a file cannot be read.
    """
    try:
        files, codecs, limit_s = document["files"], [str(name) for name in document["codecs"]], document.get("limit_s")
        missing = {name: why for name, why in ((name, available(name)) for name in codecs) if why is not None}
        usable = [name for name in codecs if name not in missing]
        end_s = time.monotonic() + float(limit_s or DEFAULT_LIMIT_S)
        times: List[Dict[str, Any]] = []
        for file in files:
            arrays = read_npz(str(file["path"]), [dict(value) for value in file["values"]])
            for value in file["values"]:
                times += _times(value, arrays[value["name"]], usable, end_s)
    except (KeyError, TypeError, ValueError, ImportError) as error:
        return {"error": {"kind": "bad-order", "message": "{}: {}".format(type(error).__name__, error)}}
    except AgentFailure as error:
        return {"error": {"kind": error.code, "message": error.message}}
    over = time.monotonic() >= end_s
    return {"times": times, "missing": missing, "problem": "the time allowed was over" if over else None}


def _times(value: Dict[str, Any], array: Any, codecs: List[str], end_s: float) -> List[Dict[str, Any]]:
    found = []
    for codec in codecs:
        if time.monotonic() >= end_s:
            break
        timed = _timed(array, codec, _range(value, codec))
        if timed is not None:
            encode_s, decode_s, coded_bytes = timed
            found.append(
                {
                    "value": value["name"],
                    "codec": codec,
                    "size_bytes": int(array.nbytes),
                    "coded_bytes": coded_bytes,
                    "encode_s": encode_s,
                    "decode_s": decode_s,
                }
            )
    return found


def _range(value: Dict[str, Any], codec: str) -> Optional[Range]:
    """The calibrated range, as the codec takes it: over all channels, or one for each."""
    told = value.get("range")
    if told is None or not parse(codec).base.startswith("q"):
        return None
    found = Range.from_json(told)
    return found if parse(codec).per_channel else Range((min(found.low),), (max(found.high),))


def _timed(array: Any, codec: str, within: Optional[Range]) -> Optional[Tuple[float, float, int]]:
    """(seconds to encode, seconds to decode, bytes); None for a codec that is not for this array."""
    try:
        frame = encode(array, codec, within)
    except CodecError:
        return None
    if codec == "raw":  # it travels as itself: what its sender and its taker do is to look at its memory
        return 0.0, 0.0, int(array.nbytes)
    return median_s(lambda: encode(array, codec, within)), median_s(lambda: decode(frame)), len(frame)


def median_s(act: Callable[[], object]) -> float:
    """The median seconds of a call, over at least FEWEST calls and SHORTEST_S."""
    taken: List[int] = []
    began = time.monotonic_ns()
    while len(taken) < FEWEST or (len(taken) < MOST and time.monotonic_ns() - began < SHORTEST_S * 1e9):
        start = time.monotonic_ns()
        act()
        taken.append(time.monotonic_ns() - start)
    return sorted(taken)[len(taken) // 2] / 1e9
