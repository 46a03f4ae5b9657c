"""Which share of a TFLite model's nodes a delegate took, read from the runtime's log."""

import re
from typing import Dict, List, Optional, Tuple

# tensorflow/lite/core/subgraph.cc; releases before 2.5 leave out the total.
_REPLACING = re.compile(
    r"Replacing (\d{1,9}) (?:out of (\d{1,9}) )?node\(s\) with delegate \(([^)\n]{1,64})\) node"
    r"(?:, yielding \d+ partitions(?: for ([^.\n]{1,64}))?)?",
    re.ASCII,
)
# tensorflow/lite/tools/benchmark/benchmark_tflite_model.cc
_APPLIED = re.compile(
    r"(?:Explicitly applied|Applied|Though) (\w{1,32}) delegate(?: is explicitly applied)?,"
    r"(?: and)? the model(?: graph)? will (completely|partially|not be|be completely|be partially) executed",
    re.ASCII,
)


def node_share(text: str) -> Tuple[Optional[Dict[str, float]], Optional[str]]:
    """({delegate: share of the model's nodes, "CPU": the rest}, None), or (None, why it is not known).

    Several delegates are applied one after another, and the later ones count what is left: shares are of the first
    count, the nodes of the model, over all subgraphs.

    >>> node_share("Replacing 5 out of 20 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.")
    ({'TfLiteGpuDelegateV2': 0.25, 'CPU': 0.75}, None)
    """
    lines = _REPLACING.findall(text)
    if lines and all(total for _, total, _, _ in lines):
        return _shares([(int(taken), int(total), name, graph) for taken, total, name, graph in lines]), None
    if lines:
        return None, "this version of the program does not print how many nodes the model has"
    applied = _APPLIED.findall(text)
    if not applied:
        return None, "the program does not print which nodes a delegate took"
    name, how = applied[-1]
    if how.endswith("completely"):
        return {name: 1.0, "CPU": 0.0}, None
    if how == "not be":
        return {name: 0.0, "CPU": 1.0}, None
    return None, "the program says that delegate {} runs a part of the model, not how large a part".format(name)


def _shares(lines: List[Tuple[int, int, str, str]]) -> Dict[str, float]:
    nodes: Dict[str, int] = {}
    taken: Dict[str, int] = {}
    for count, total, name, graph in lines:
        nodes.setdefault(graph, total)
        taken[name] = taken.get(name, 0) + count
    total = max(sum(nodes.values()), 1)
    shares = {name: min(count / total, 1.0) for name, count in taken.items()}
    shares["CPU"] = max(0.0, 1.0 - sum(shares.values()))
    return shares
