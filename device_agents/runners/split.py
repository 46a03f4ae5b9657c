"""A split package: one frame after the other through the device, the link and the edge server, as the policy decides.

An invocation is one frame from its arrival to its answer; its stages are the client's (head, encode, link, server,
decode, tail). What became of the frames stands in the summary of the run.
"""

import math
import os
import time
from typing import Any, Dict, List, Optional

from device_agents.failures import AgentFailure
from device_agents.runners.base import Runner, Shapes
from device_agents.runners.ort import top1
from device_agents.sensors import thermal
from device_agents.sensors.files import SensorError
from device_agents.spec import AgentSpec
from device_agents.split import client as clients
from device_agents.split import package as packages
from device_agents.split.decide import Policy, PolicyError
from device_agents.split.estimate import LinkEstimate
from device_agents.split.frames import DTYPES, NUMPY_NAMES
from device_agents.split.local import LocalParts
from device_agents.split.wire import Endpoint, WireError

SENSE_EVERY_S = 1.0
# Of each frame: placement, fallback and reason as places in the summary's lists (None: there was none), what was
# predicted, what was sent, and what was known when it was decided.
KNOWN = ("uplink_bps", "downlink_bps", "rtt_s", "slow_down", "device_scale")
NOTES = ("placement", "predicted_s", "fallback", "why", "refused", "bytes_up", "bytes_down", *KNOWN)
MOST_WORDS = 256  # different reasons that are kept; whatever comes then is the last one
DEFAULT_LINK = {"uplink_bps": 2e7, "downlink_bps": 2e7, "rtt_s": 0.02}


class SplitRunner(Runner):
    """One package, one client. The spec's ``split`` says how (see AgentSpec)."""

    name = "split"
    stages = clients.STAGES
    notes = NOTES
    slows_itself = True  # the parts of the model that run here are made slower; link and server are not

    def __init__(self) -> None:
        super().__init__()
        self._client: Optional[clients.SplitClient] = None
        self._package: Optional[packages.Package] = None
        self._feed: Dict[str, Any] = {}
        self._outputs: Optional[Dict[str, Any]] = None
        self._told = _Told([])
        self._heat: Optional[_Heat] = None

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The ``loaded`` detail, once the package is read and what runs here is loaded: the whole model, to fall back
        on, and the head of a placement that the policy fixes.
        """
        asked = spec.split
        try:
            package = packages.read(os.path.dirname(str(spec.model_path)))
            policy = None if asked.get("policy") is None else Policy.from_json(asked["policy"])
            parts = LocalParts(package, spec.threads, spec.provider, spec.slow_down)
            self._heat = _Heat(spec.root)
            link = {name: float((asked.get("link") or DEFAULT_LINK)[name]) for name in DEFAULT_LINK}
            client = clients.SplitClient(
                package,
                _endpoint(asked.get("server")),
                policy,
                asked.get("deadline_s"),
                LinkEstimate(**link),
                sense=self._heat.read,
                parts=parts,
            )
        except (packages.PackageError, PolicyError, WireError) as error:
            raise AgentFailure("bad-model", str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise AgentFailure("bad-spec", "split: {}".format(error)) from error
        self._client, self._package = client, package
        self._told = _Told(list(package.placements))
        for name in _wanted(package, policy):
            client.warm(name)
        return {
            "runtime": parts.runtime,
            "provider": "CPUExecutionProvider" if spec.provider is None else spec.provider,
            "providers": [],
            "node_share": None,
            "inputs": self.inputs(),
            "outputs": [_described(value) for value in package.outputs],
            "model_bytes": sum(
                part.size_bytes for placement in package.placements.values() for part in placement.parts
            ),
            "package": package.id,
            "placements": list(package.placements),
        }

    def inputs(self) -> List[Dict[str, Any]]:
        """The package's inputs; its shapes are fixed."""
        assert self._package is not None  # load() came first
        return [_described(value) for value in self._package.inputs]

    def bind(self, shapes: Shapes) -> None:
        """Nothing. AgentFailure "bad-input" for other shapes than the package was made for."""
        assert self._package is not None  # load() came first
        for value in self._package.inputs:
            if shapes[value.name] != value.shape:
                words = "{} is asked for with shape {}, the package was made for {}"
                raise AgentFailure("bad-input", words.format(value.name, list(shapes[value.name]), list(value.shape)))

    def prepare(self, arrays: Dict[str, Any]) -> None:
        """Nothing; the next frame is this one."""
        self._feed = arrays

    def invoke(self) -> None:
        """Nothing, once the frame was answered, or refused (which the summary counts)."""
        assert self._client is not None  # load() came first
        result = self._client.infer(self._feed)
        self._outputs = result.outputs
        self.last_stages = dict.fromkeys(self.stages, 0)
        self.last_stages.update(result.stages_ns)
        self.last_notes = self._told.take(result)

    def output_top1(self) -> List[int]:
        """The arg-max over the last axis of the first output, flattened."""
        if self._outputs is None:
            raise AgentFailure("bad-spec", "the frame was refused: an evaluation needs a policy that answers all")
        return top1(next(iter(self._outputs.values())))

    def output_arrays(self) -> Dict[str, Any]:
        """The frame's outputs by name. AgentFailure "bad-input" for a frame that was refused."""
        if self._outputs is None:
            raise AgentFailure("bad-input", "the frame was refused by the policy")
        return self._outputs

    def finish(self) -> None:
        """Nothing; the summary is what became of the frames."""
        if self._client is not None:
            self.summary = {"split": self._told.to_json(self._client)}

    def close(self) -> None:
        """Nothing, once the connection and the sessions are given back."""
        if self._client is not None:
            client, self._client = self._client, None
            client.close()


class _Told:
    """What became of the frames."""

    def __init__(self, ids: List[str]) -> None:
        self._ids = {name: index for index, name in enumerate(ids)}
        self._kinds, self._reasons = _Words(), _Words()
        self._placements: Dict[str, int] = {}
        self._fallbacks: Dict[str, int] = {}
        self._refused = self._frames = self._up = self._down = 0
        self._predicted_s = self._measured_s = 0.0

    def take(self, result: clients.Result) -> Dict[str, Optional[float]]:
        """The frame's NOTES, once it is counted."""
        self._count(result)
        known = result.conditions
        return {
            "placement": None if result.placement is None else self._ids[result.placement],
            "predicted_s": None if result.predicted_s == math.inf else result.predicted_s,
            "fallback": None if result.fallback is None else self._kinds.place(result.fallback),
            "why": self._reasons.place(result.why),
            "refused": int(result.outputs is None),
            "bytes_up": result.bytes_up,
            "bytes_down": result.bytes_down,
            **{name: None if known is None else getattr(known, name) for name in KNOWN},
        }

    def _count(self, result: clients.Result) -> None:
        self._frames += 1
        self._up, self._down = self._up + result.bytes_up, self._down + result.bytes_down
        if result.outputs is None:
            self._refused += 1
        if result.placement is not None:
            self._placements[result.placement] = self._placements.get(result.placement, 0) + 1
        if result.fallback is not None:
            self._fallbacks[result.fallback] = self._fallbacks.get(result.fallback, 0) + 1
        elif result.predicted_s is not None and result.predicted_s > 0:
            self._predicted_s += result.predicted_s
            self._measured_s += result.latency_s

    def to_json(self, client: clients.SplitClient) -> Dict[str, Any]:
        """frames, refused, placements {id: frames}, fallbacks {kind: frames}, bytes_up, bytes_down; predicted_s and
        measured_s (sums over the frames that ran as they were planned); the link and the factors as learnt; the lists
        of which the frames' notes have the places.
        """
        now = client.conditions()
        return {
            "frames": self._frames,
            "refused": self._refused,
            "placements": self._placements,
            "fallbacks": self._fallbacks,
            "bytes_up": self._up,
            "bytes_down": self._down,
            "predicted_s": self._predicted_s or None,
            "measured_s": self._measured_s or None,
            "uplink_bps": now.uplink_bps,
            "rtt_s": now.rtt_s,
            "slow_down": now.slow_down,
            "device_scale": now.device_scale,
            "placement_ids": list(self._ids),
            "fallback_kinds": self._kinds.words,
            "reasons": self._reasons.words,
        }


class _Words:
    """A list of words that grows as they come, up to MOST_WORDS."""

    def __init__(self) -> None:
        self.words: List[str] = []
        self._places: Dict[str, int] = {}

    def place(self, word: str) -> int:
        """Where the word is in the list."""
        if word not in self._places:
            if len(self.words) >= MOST_WORDS - 1:
                word = "another reason"
            if word not in self._places:
                self._places[word] = len(self.words)
                self.words.append(word)
        return self._places[word]


class _Heat:
    """The hottest thermal zone, read at most once a second."""

    def __init__(self, root: str) -> None:
        self._sensors = thermal.find(root).sensors
        self._read_at_s = -SENSE_EVERY_S
        self._known: Dict[str, Any] = {}

    def read(self) -> Dict[str, Any]:
        """{"temperature_c": ...}, or {} where no zone can be read."""
        now_s = time.monotonic()
        if now_s - self._read_at_s >= SENSE_EVERY_S:
            self._read_at_s = now_s
            values = [value for value in map(_value, self._sensors) if value is not None]
            self._known = {"temperature_c": max(values)} if values else {}
        return self._known


def _value(sensor: Any) -> Optional[float]:
    try:
        return float(sensor.read())
    except SensorError:
        return None


def _endpoint(server: Optional[Dict[str, Any]]) -> Optional[Endpoint]:
    """The server; its token is read here, from the variable that is named, and is in no spec."""
    if server is None:
        return None
    variable = server.get("token_env")
    token = None
    if variable is not None:
        token = os.environ.get(str(variable))
        if token is None:
            raise AgentFailure("bad-spec", "the variable {} with the server's token is not set".format(variable))
    return Endpoint(str(server["url"]), token, server.get("ca_file"), server.get("certificates"))


def _wanted(package: packages.Package, policy: Optional[Policy]) -> List[str]:
    names = [placement.id for placement in package.placements.values() if placement.label == "device"]
    fixed = [] if policy is None else [policy.placement, *policy.tour]
    return names + [str(name) for name in fixed if name in package.placements]


def _size(package: packages.Package) -> int:
    """Bytes of all parts, each file once."""
    files = {part.file: part.size_bytes for placement in package.placements.values() for part in placement.parts}
    return sum(files.values())


def _described(value: packages.Value) -> Dict[str, Any]:
    return {"name": value.name, "dtype": NUMPY_NAMES[DTYPES.index(value.dtype)], "shape": list(value.shape)}
