"""What a policy file may hold: the one source of its checks, its error messages and its JSON Schema.

Units are in the names. A share is a number from 0 to 1, or per cent with the sign, such as "20 %".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from device_agents.split.decide import FALLBACKS, LOCAL, POLICIES
from mobile.inventory.near import did_you_mean

PLACEMENT_PATTERN = r"^p[0-9]{1,4}$"
PERCENT_PATTERN = r"^[0-9]+(?:\.[0-9]+)? ?%$"
PERCENT = {"type": "string", "pattern": PERCENT_PATTERN}
SHARE_WORDS = 'a share from 0 to 1, or per cent such as "20 %"'


def _share(value: object) -> object:
    if isinstance(value, str):
        if not re.match(PERCENT_PATTERN, value):
            raise PydanticCustomError("unit", "{expected}", {"expected": SHARE_WORDS})
        value = float(value.rstrip(" %")) / 100
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise PydanticCustomError("unit", "{expected}", {"expected": SHARE_WORDS})
    return float(value)


def _one_of(names: Sequence[str], more: str = "", pattern: str = r"^\b$") -> Callable[[object], object]:
    """A check with the nearest name in its words; ``pattern`` is what else is allowed, ``more`` that in words."""

    def check(value: object) -> object:
        if isinstance(value, str) and (value in names or re.match(pattern, value)):
            return value
        words = f"one of {', '.join(names)}{more}"
        near = did_you_mean(value, names, "names") if isinstance(value, str) else ""
        expected = f"{words}; {near}" if near.startswith("did you mean") else words
        raise PydanticCustomError("unit", "{expected}", {"expected": expected})

    return check


Share = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, PERCENT]}),
]
PlacementId = Annotated[
    str,
    BeforeValidator(_one_of((LOCAL,), " or a placement's id such as p3", PLACEMENT_PATTERN)),
    WithJsonSchema({"type": "string", "pattern": rf"^{LOCAL}$|{PLACEMENT_PATTERN}"}),
]
PolicyName = Annotated[str, BeforeValidator(_one_of(POLICIES)), WithJsonSchema({"type": "string", "enum": [*POLICIES]})]
Fallback = Annotated[str, BeforeValidator(_one_of(FALLBACKS)), WithJsonSchema({"type": "string", "enum": [*FALLBACKS]})]
Use = Annotated[
    str,
    BeforeValidator(_one_of((LOCAL, *POLICIES), " or a placement's id such as p3", PLACEMENT_PATTERN)),
    WithJsonSchema({"type": "string", "pattern": rf"^(?:{'|'.join((LOCAL, *POLICIES))})$|{PLACEMENT_PATTERN}"}),
]


def _conflict(field: str, words: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", "{words}", {"field": field, "words": words})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Edges(_Strict):
    """A range without its edges; one of the two may be left out."""

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> _Edges:
        if self.above is None and self.below is None:
            raise _conflict("above", "above or below is missing")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise _conflict("below", f"below is {self.below:g}, which is not above {self.above:g}: it never holds")
        return self


class Quantity(_Edges):
    """Edges as numbers of at least 0."""

    above: float | None = Field(None, ge=0, description="Holds above this.")
    below: float | None = Field(None, ge=0, description="Holds below this.")


class Temperature(_Edges):
    """Edges in degrees Celsius."""

    above: float | None = Field(None, ge=-100, le=300, description="Holds above this.")
    below: float | None = Field(None, ge=-100, le=300, description="Holds below this.")


class Battery(_Edges):
    """Edges as shares of the battery's charge."""

    above: Share | None = Field(None, description="Holds above this share.")
    below: Share | None = Field(None, description="Holds below this share.")


class If(_Strict):
    """Conditions of a rule; all that are given must hold, and what is not known holds none."""

    uplink_mbps: Quantity | None = Field(None, description="Estimated uplink, Mbit/s.")
    rtt_ms: Quantity | None = Field(None, description="Estimated round trip, milliseconds.")
    slow_down: Quantity | None = Field(None, description="How many times slower the server is than it was measured.")
    device_scale: Quantity | None = Field(None, description="How many times slower the device is than measured.")
    temperature_c: Temperature | None = Field(None, description="The device's temperature, degrees Celsius.")
    battery: Battery | None = Field(None, description="Its battery's charge, a share or per cent.")
    charging: bool | None = Field(None, description="Whether it is being charged.")
    server: Literal["up", "down"] | None = Field(None, description="Whether the server answers.")

    @model_validator(mode="after")
    def _some(self) -> If:
        if not any(getattr(self, name) is not None for name in self.model_fields_set):
            raise _conflict("uplink_mbps", "a rule without a condition would always hold")
        return self


class RuleFields(_Strict):
    """One rule: where the conditions hold, ``use`` goes before the policy. The first that holds is taken."""

    if_: If = Field(alias="if", description="Conditions, all of which must hold.")
    use: Use = Field(description="local, a placement's id, or a policy.")


class Weights(_Strict):
    """Of policy `weighted`: what is made small is latency * seconds + energy * joules."""

    latency: float = Field(1.0, ge=0, description="Weight of a second.")
    energy: float = Field(0.0, ge=0, description="Weight of a joule.")


class Hysteresis(_Strict):
    """What a switch to another placement needs."""

    gain: Share = Field(default=0.05, description="The share that it must gain.")
    count: int = Field(default=1, ge=1, le=1000, description="For so many frames in a row.")
    horizon: int = Field(default=50, ge=1, le=1_000_000, description="Frames over which what a switch costs is spread.")


class PolicyFile(_Strict):
    """A policy file of `edgewise policy` and `edgewise split`."""

    policy: PolicyName = Field("latency", description="What is made small, or fixed.")
    placement: PlacementId | None = Field(None, description="Of policy fixed: which placement.")
    deadline_ms: float | None = Field(None, gt=0, le=3.6e6, description="Of policy deadline, milliseconds.")
    weights: Weights | None = Field(None, description="Of policy weighted.")
    fallback: Fallback = Field("local", description="When the server is gone or late: local, or refuse.")
    hysteresis: Hysteresis = Field(Hysteresis(), description="What a switch needs.")
    when: Annotated[tuple[RuleFields, ...], Field(strict=False, max_length=100)] = Field(
        (), description="Rules that go before the policy, the first that holds."
    )

    @model_validator(mode="after")
    def _fits(self) -> PolicyFile:
        used = {self.policy, *(rule.use for rule in self.when)}
        needs: tuple[tuple[str, str, Any], ...] = (
            ("fixed", "placement", self.placement),
            ("deadline", "deadline_ms", self.deadline_ms),
            ("weighted", "weights", self.weights),
        )
        for policy, field, value in needs:
            if policy in used and value is None:
                raise _conflict(field, f"is missing: policy {policy} needs it")
            if policy not in used and value is not None:
                raise _conflict(field, f"belongs to policy {policy}, which is not used here")
        if self.hysteresis.gain >= 1:
            raise _conflict("hysteresis", "gain is all of it: nothing could ever be switched to")
        return self
