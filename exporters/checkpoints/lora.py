"""LoRA adapters in PEFT's format: adapter_config.json and adapter_model.safetensors.

What is added to a weight is scaling * B @ A with scaling = alpha / r, or alpha / sqrt(r) for rank-stabilised ones.
Source: peft 0.21.2, tuners/lora (layer.py: get_delta_weight of Linear, Conv and Embedding) and utils/save_and_load.py;
Hu et al., "LoRA" (2021); Kalajdzievski, "A rank stabilization scaling factor" (2023).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.checkpoints.entries import Checkpoint, Entry
from exporters.checkpoints.reals import real_entries
from exporters.checkpoints.stored import FLOATS, Stored, open_stored, read_json
from mobile.errors import ModelError

if TYPE_CHECKING:
    from exporters.compress.tensors import CompressedTensor

METHOD = "lora"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_REFUSED = ("use_dora", "use_qalora", "lora_bias", "alora_invocation_tokens", "target_parameters", "use_bdlora")
_NAME = re.compile(r"(?P<module>.+)\.lora_(?:A\.weight|embedding_A)")


def read(folder: Path) -> Checkpoint:
    """The adapter: an Adapter per weight, and the layers that were trained whole as real arrays.

    ModelError when it is another kind of adapter, or its parts do not fit.
    """
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder}: peft_type is {config.get('peft_type')!r:.40}, expected LORA")
    refused = next((key for key in _REFUSED if config.get(key)), None)
    if refused is not None:
        raise ModelError(f"{folder}: adapters with {refused} are not supported", "Merge it with peft first.")
    stored = open_stored(folder)
    entries, used = {}, set()
    for name in stored:
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        module = found["module"].removeprefix(_PREFIX)
        second = name.replace("lora_A", "lora_B").replace("lora_embedding_A", "lora_embedding_B")
        entries[f"{module}.weight"] = _entry(stored, config, module, name, second)
        used |= {name, second}
    reals = {name.removeprefix(_PREFIX): entry for name, entry in real_entries(stored, used).items()}
    stray = next((name for name in reals if "lora_" in name), None)
    if stray is not None:
        raise ModelError(f"{folder}: {stray} belongs to no pair of A and B")
    origin = {"method": METHOD, "peft_version": config.get("peft_version")}
    return Checkpoint(folder, METHOD, entries, reals, origin).need_some()


def _entry(stored: Stored, config: Mapping[str, Any], module: str, first: str, second: str) -> Entry:
    a = stored.need(first, FLOATS, "A of the adapter").shape
    b = stored.need(second, FLOATS, "B of the adapter").shape
    if len(a) < 2 or len(b) < 2 or a[0] != b[1] or math.prod(b[2:]) != 1:
        raise stored.wrong(first, f"is {list(a)} and {second.rpartition('lora_')[2]} {list(b)}: no pair of factors")
    embedding, turned = "lora_embedding" in first, bool(config.get("fan_in_fan_out"))
    shape = (a[1], b[0]) if embedding or turned else (b[0], *a[1:])
    load = partial(_load, stored, config, module, first, second, shape)
    return Entry(f"{module}.weight", shape, load, 1 if turned and not embedding else 0)


def _load(
    stored: Stored, config: Mapping[str, Any], module: str, first: str, second: str, shape: tuple[int, ...]
) -> CompressedTensor:
    """The rows of an embedding are its words, so A and B change places there."""
    import numpy as np

    from exporters.compress.tensors import Adapter

    a = stored.floats(first)
    rank = a.shape[0]
    right, left = a.reshape(rank, -1), stored.floats(second).reshape(-1, rank)
    alpha = _pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
    stated = _pattern(config.get("rank_pattern"), module, config.get("r", rank))
    if stated != rank:
        raise stored.wrong(first, f"has rank {rank}, the configuration says {stated!r:.20}")
    if type(alpha) not in (int, float):
        raise stored.wrong(first, f"has the alpha {alpha!r:.20}")
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else None
    axis = 1 if config.get("fan_in_fan_out") and "lora_embedding" not in first else 0
    if "lora_embedding" in first:
        left, right = np.ascontiguousarray(right.T), np.ascontiguousarray(left.T)
    return Adapter(f"{module}.weight", shape, axis, left, right, float(alpha), scaling)


def _pattern(patterns: object, module: str, default: Any) -> Any:
    """The value of the first pattern that fits the module's name to its end, as peft's get_pattern_key does it."""
    for pattern, value in (patterns if isinstance(patterns, dict) else {}).items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error:
            continue
    return default
