"""Carbon and water of a run: a measured energy times a factor that the user states, with its source, and nothing else.

No factor is built in. What a kilowatt-hour emits or takes differs by place, hour and method of accounting by more than
tenfold; a default would be a guess in the clothes of a measurement. Predicted, estimated, emulated, slowed and replayed
energies have no footprint here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobile.errors import UsageError

J_PER_KWH = 3.6e6
# Key of the command line: (what it is, unit of the result)
KINDS = {"g_per_kwh": ("carbon", "g"), "l_per_kwh": ("water", "l")}
_FORMS = "For example --carbon 'g_per_kwh=380,source=the grid operator, 2025' or --water 'l_per_kwh=1.8,source=...'."


@dataclass(frozen=True)
class Factor:
    """``per_kwh`` of the unit (grams of CO2 equivalent, litres of water), with where it is from."""

    what: str
    unit: str
    per_kwh: float
    source: str


def parse_factor(text: str, what: str) -> Factor:
    """The factor of "g_per_kwh=380,source=..."; the source is the rest of the text. UsageError when it is none."""
    pair, _, rest = text.partition(",")
    key, _, number = (part.strip() for part in pair.partition("="))
    name, _, source = (part.strip() for part in rest.partition("="))
    if key not in KINDS or KINDS[key][0] != what:
        wanted = next(key for key, (kind, _) in KINDS.items() if kind == what)
        raise UsageError(f"--{what} {text!r}: expected {wanted}=NUMBER,source=TEXT", _FORMS)
    if name != "source" or not source:
        raise UsageError(f"--{what} {text!r} does not say where the factor is from", _FORMS)
    try:
        value = float(number)
    except ValueError as error:
        raise UsageError(f"--{what} {text!r}: {number!r} is no number", _FORMS) from error
    if not math.isfinite(value) or not 0 < value < 1e6:
        raise UsageError(f"--{what} {text!r}: {number} is out of range", _FORMS)
    return Factor(what, KINDS[key][1], value, source)


def footprint(row: Mapping[str, Any], factors: Sequence[Factor]) -> list[dict[str, Any]]:
    """What a run's measured energy comes to, an entry for each factor: total with uncertainty (k = 2), per_inference.

    ``row``: its figures. The uncertainty is the energy's alone; ``missing`` is the reason where there is none.
    """
    energy, why = row.get("energy"), _why_not(row)
    found = []
    for factor in factors:
        entry: dict[str, Any] = {
            "what": factor.what, "unit": factor.unit, "per_kwh": factor.per_kwh, "source": factor.source,
            "scope": (energy or {}).get("scope"), "total": None, "per_inference": None, "uncertainty": None,
            "missing": why,
        }  # fmt: skip
        if why is None and energy:
            share = factor.per_kwh / J_PER_KWH
            each = energy.get("per_inference_j")
            entry["total"], entry["uncertainty"] = energy["total_j"] * share, energy["uncertainty_j"] * share
            entry["per_inference"] = each * share if each is not None else None
        found.append(entry)
    return found


def _why_not(row: Mapping[str, Any]) -> str | None:
    energy, provenance = row.get("energy"), row.get("provenance")
    if not energy:
        return f"no energy was measured: {row.get('energy_missing')}"
    if provenance != "real":
        return f"the energy is {provenance}, not that of a real device"
    if "estimated" in str(energy.get("scope")):
        return "the energy is estimated, not measured"
    return None
