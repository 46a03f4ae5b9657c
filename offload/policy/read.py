"""A policy file, checked and compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents.split.decide import Policy
from mobile.errors import ConfigError

if TYPE_CHECKING:
    from mobile.inventory.yamlfile import Located
    from offload.policy.models import PolicyFile


def load_policy(path: Path) -> Policy:
    """The compiled policy of a YAML file. ConfigError names file, line, field, value and what was expected."""
    from mobile.inventory.yamlfile import read_yaml

    return _compiled(read_yaml(path))


def parse_policy(text: str, name: str = "policy.yaml") -> Policy:
    """The compiled policy of a text; ``name`` is the file that errors name."""
    from mobile.inventory.yamlfile import parse_yaml

    return _compiled(parse_yaml(text, name))


def _compiled(located: Located) -> Policy:
    from pydantic import ValidationError

    from mobile.inventory.problems import config_error
    from offload.policy.models import PolicyFile

    if not isinstance(located.value, dict):
        raise ConfigError(f"{located.file}:1: a policy is a mapping (key: value), such as `policy: latency`")
    try:
        checked = PolicyFile.model_validate(located.value)
    except ValidationError as error:
        raise config_error(error, located, PolicyFile) from error
    return Policy.from_json(compiled(checked))


def compiled(checked: PolicyFile) -> dict[str, Any]:
    """The policy as the device takes it: seconds and shares, rules as they were checked."""
    weights, hysteresis = checked.weights, checked.hysteresis
    return {
        "schema": 1,
        "policy": checked.policy,
        "placement": checked.placement,
        "deadline_s": None if checked.deadline_ms is None else checked.deadline_ms / 1000,
        "latency_weight": 1.0 if weights is None else weights.latency,
        "energy_weight": 0.0 if weights is None else weights.energy,
        "fallback": checked.fallback,
        "switch_gain": hysteresis.gain,
        "switch_count": hysteresis.count,
        "switch_horizon": hysteresis.horizon,
        "when": [
            {"if": rule.if_.model_dump(exclude_none=True, exclude_unset=True), "use": rule.use} for rule in checked.when
        ],
    }
