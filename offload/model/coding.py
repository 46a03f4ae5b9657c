"""What each codec makes of each value: bytes and error on real activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_agents.split.codecs import BITS, Codec, Range, available, decode, encode, parse
from device_agents.split.delta import Senders
from device_agents.split.images import is_image
from offload.model.values import Observed, Watcher

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT = ("raw", "fp16", "q8", "q8+zlib", "q4+zlib", "q2+zlib")
LARGEST_BYTES = 64 << 20  # of a value: what is larger would not be sent


@dataclass(frozen=True)
class Coding:
    """One codec on one value, over all samples: mean size of its frames and its error.

    ``error``: root mean square of the difference, relative to that of the value (0: bit for bit).
    """

    codec: str
    mean_bytes: float
    error: float
    samples: int


def usable(codecs: Sequence[str]) -> tuple[list[str], list[str]]:
    """(those of the codecs that work here, what is said about the others)."""
    reasons = {name: available(name) for name in codecs}
    return [name for name in codecs if reasons[name] is None], [
        f"{name}: {why}" for name, why in reasons.items() if why
    ]


def measure(
    watcher: Watcher,
    samples: Iterable[Mapping[str, NDArray[Any]]],
    observed: Mapping[str, Observed],
    codecs: Sequence[str] = DEFAULT,
) -> dict[str, list[Coding]]:
    """The codings of each value that may cross, in the order of ``codecs``; values are quantised within the range that
    was observed. What is no float has the raw ones only; pictures are for the model's image inputs, floats or bytes.

    For differences the samples are taken for a stream in their order: what they save is what such samples let them.
    """
    sums: dict[tuple[str, str], list[float]] = {}
    senders = Senders()
    for feeds in samples:
        for name, array in watcher.run(feeds).items():
            if name not in observed or array.nbytes > LARGEST_BYTES:
                continue
            for codec in _fitting(codecs, array, name in watcher.graph.inputs):
                total = sums.setdefault((name, codec), [0.0, 0.0, 0.0, 0.0])
                _add(total, array, codec, observed[name], senders)
    found: dict[str, list[Coding]] = {name: [] for name in observed}
    for name, codec in sorted(sums, key=lambda key: codecs.index(key[1])):
        size, wrong, power, count = sums[name, codec]
        error = (wrong / power) ** 0.5 if power else (0.0 if not wrong else float("inf"))
        found[name].append(Coding(codec, size / count, error, int(count)))
    return found


def _fitting(codecs: Sequence[str], array: NDArray[Any], is_input: bool) -> list[str]:
    return [name for name in codecs if _fits(parse(name), array, is_input)]


def _fits(codec: Codec, array: NDArray[Any], is_input: bool) -> bool:
    if codec.quality:
        return is_input and (array.dtype.kind == "f" or array.dtype.name == "uint8") and is_image(array.shape)
    if array.dtype.kind == "f":
        return not (codec.per_channel and array.ndim < 2)
    return codec.base == "raw"


def _add(total: list[float], array: NDArray[Any], name: str, seen: Observed, senders: Senders) -> None:
    import numpy as np

    codec = parse(name)
    within = None
    if codec.base in BITS or (codec.quality and array.dtype.kind == "f"):
        within = Range(seen.low, seen.high) if codec.per_channel else Range((min(seen.low),), (max(seen.high),))
    sender = senders.of(seen.name, name) if codec.delta else None
    frame = encode(array, name, within, sender)
    if sender is not None:
        sender.accepted(sender.number)
    total[0] += array.nbytes if name == "raw" else len(frame)  # raw travels as itself, without a frame
    if codec.base != "raw":
        back = decode(encode(array, name, within) if sender is not None else frame)
        difference = back.astype(np.float64) - array
        total[1] += float(np.nansum(difference * difference))
        total[2] += float(np.nansum(array.astype(np.float64) ** 2))
    total[3] += 1
