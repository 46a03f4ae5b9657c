"""A device's profile, a server's, what is known of the values between the pieces, and coding: the planner's costs.

The device's pieces cost what they cost in heads, the server's what they cost in tails. For each kind of figure it is
kept whether it was measured, predicted or assumed; of several the least certain word counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from device_agents.split.codecs import BITS, parse
from mobile.errors import InputError
from offload.costs.coders import Coders
from offload.costs.profile import Profile
from offload.model.coding import DEFAULT, Coding
from offload.model.pieces import PieceGraph
from offload.model.values import Observed
from offload.plan.costs import ASSUMED, MEASURED, PREDICTED, CodedAs, Costs, ValueCosts
from offload.plan.problem import DEVICE

# The JSON entry of one tensor in a request or an answer (name, datatype, shape, size, codec).
TENSOR_HEADER_BYTES = 160
FRAME_HEADER_BYTES = 64
_CERTAINTY = (MEASURED, PREDICTED, ASSUMED)


@dataclass
class CodecTimes:
    """Coding on both sides (None: as their profiles have it), and the sizes that codecs make of the values
    (offload.model.coding), where measured.
    """

    device: Coders | None = None
    server: Coders | None = None
    codings: Mapping[str, Sequence[Coding]] = field(default_factory=dict)


def costs_from_profiles(
    graph: PieceGraph,
    observed: Mapping[str, Observed],
    device: Profile,
    server: Profile,
    codec_times: CodecTimes | None = None,
    codecs: Sequence[str] = DEFAULT,
    *,
    request_s: float = 0.0,
    on_device: frozenset[int] = frozenset(),
    on_server: frozenset[int] = frozenset(),
) -> Costs:
    """The costs of a model whose profiles are given. InputError when they are of other pieces than the graph's.

    ``codecs``: those that may be used for floats; other values cross as they are. A value that was not observed, or is
    no tensor, may not cross. ``request_s``: the server's own time for a request beside its inference and coding.
    """
    names = tuple(piece.name for piece in graph.pieces)
    for profile in (device, server):
        if tuple(piece.name for piece in profile.pieces) != names:
            raise InputError(
                f"the profile of {profile.place.name} is of {profile.model}, not of this model as it is cut here",
                f"`edgewise profile FILE --on {profile.place.name}` measures it.",
            )
    given = codec_times or CodecTimes()
    own, theirs = (Coders(profile.place.name, profile.codecs) for profile in (device, server))
    builder = _Values(graph, observed, given.device or own, given.server or theirs, given.codings, codecs)
    values = tuple(builder.value(name) for name in graph.values)
    return Costs(
        pieces=names,
        device_s=tuple(piece.head_s for piece in device.pieces),
        server_s=tuple(piece.tail_s for piece in server.pieces),
        values=values,
        weight_bytes=tuple(piece.weight_bytes for piece in device.pieces),
        on_device=on_device,
        on_server=on_server,
        request_s=request_s,
        how={
            "device_s": worst(device.how, device.pieces_how),
            "server_s": worst(server.how, server.pieces_how),
            "codec_s": worst(*builder.times_how),
            "bits": worst(*builder.sizes_how),
        },
    )


def worst(*hows: str) -> str:
    """The least certain of the words, "measured" of none."""
    return max(hows, key=_CERTAINTY.index, default=MEASURED)


class _Values:
    """Makes the values' costs; collects how certain they are."""

    def __init__(
        self,
        graph: PieceGraph,
        observed: Mapping[str, Observed],
        device: Coders,
        server: Coders,
        codings: Mapping[str, Sequence[Coding]],
        codecs: Sequence[str],
    ) -> None:
        self._graph = graph
        self._observed = observed
        self._device, self._server = device, server
        self._codings = codings
        self._codecs = codecs
        self._wanted = {source for name in graph.outputs for source in graph.source.get(name, (name,))}
        self.times_how: set[str] = set()
        self.sizes_how: set[str] = set()

    def value(self, name: str) -> ValueCosts:
        """The costs of one value."""
        graph, seen = self._graph, self._observed.get(name)
        producer = graph.producer.get(name, DEVICE)
        up = self._ways(seen, self._device, self._server) if seen is not None else ()
        back = seen if producer != DEVICE else None  # an input of the model is on the device already
        down = self._ways(back, self._server, self._device, back=True) if back is not None else ()
        return ValueCosts(name, producer, graph.consumers(name), up, down, name in self._wanted)

    def _ways(self, seen: Observed, encoder: Coders, decoder: Coders, back: bool = False) -> tuple[CodedAs, ...]:
        """``back``: on its way to the device."""
        ways = []
        for codec in self._answers(seen) if back else self._codecs:
            size = self._size(seen, codec)
            if size is None:
                continue
            encode_s, _, encode_how = encoder.seconds(seen.name, codec, seen.size_bytes)
            _, decode_s, decode_how = decoder.seconds(seen.name, codec, seen.size_bytes)
            self.times_how.update((encode_how, decode_how))
            ways.append(CodedAs(codec, encode_s, decode_s, 8.0 * (size + TENSOR_HEADER_BYTES)))
        return tuple(ways)

    def _answers(self, seen: Observed) -> list[str]:
        """The codecs of a value that comes back: no pictures, no streams; an output of the model loses nothing."""
        whole = [codec for codec in self._codecs if not (parse(codec).delta or parse(codec).quality)]
        if seen.name in self._wanted:
            return [codec for codec in whole if parse(codec).base == "raw"] or ["raw"]
        return whole

    def _size(self, seen: Observed, codec: str) -> float | None:
        """Bytes of a value in a codec; None when the codec is not for it."""
        parts = parse(codec)
        if codec == "raw":
            self.sizes_how.add(MEASURED)
            return float(seen.size_bytes)
        measured = next((c for c in self._codings.get(seen.name, ()) if c.codec == codec), None)
        if measured is not None:
            self.sizes_how.add(MEASURED)
            return measured.mean_bytes
        if parts.quality or (not seen.dtype.startswith("float") and parts.base != "raw"):
            return None  # how large a picture is only a picture tells
        self.sizes_how.add(ASSUMED if parts.entropy else PREDICTED)
        return _size_by_rule(seen, codec)


def _size_by_rule(seen: Observed, codec: str) -> float:
    """Bytes without an entropy coder: exact. With one, what its input takes, as if it gained nothing."""
    import numpy as np

    parts = parse(codec)
    items = int(np.prod(seen.shape, dtype=np.int64))
    if parts.base == "raw":
        return float(seen.size_bytes + FRAME_HEADER_BYTES)
    bits = BITS.get(parts.base, 16)
    ranges = 8 * len(seen.low) if parts.per_channel else 8
    return (items * bits + 7) // 8 + FRAME_HEADER_BYTES + ranges
