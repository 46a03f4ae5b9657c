"""Pictures of the HTML report for the documentation: `python -m tests.support.report_pictures [FOLDER]`.

A simulated board that gets hot and is held back, and simulated runs of three variants on it; the page says so. Three
pictures are written: wide, on a phone, and the comparison in the dark scheme.
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mobile.reports.html import document
from mobile.results.run import Run
from tests.support.chromium import Browser
from tests.support.runs import MS, sensor, simple_run
from tests.support.stored_runs import several

SECONDS = 90.0
HOT_C, LIMIT_C = 84.0, 80.0
SIZES = {"net.fp32.onnx": 13_600_000, "net.int8.onnx": 3_500_000, "net.ternary.onnx": 950_000}
BOARD = {"model": "Simulated board", "governor": "performance", "cores": 4}


def heat(t: float) -> float:
    """The temperature of the simulated chip: it nears its end value with a time constant of 25 s."""
    return 48.0 + (HOT_C - 48.0) * (1 - math.exp(-max(0.0, t) / 25.0)) + 0.3 * math.sin(t)


def held_back(t: float) -> bool:
    """Whether the simulated board lowers its clock."""
    return heat(t) > LIMIT_C


def board_run() -> Run:
    """90 s of a model of 9 ms that is slowed down when the board is hot; a rare inference takes three times as long."""
    noise, durations, t = np.random.default_rng(5), [], 0.0
    while t < SECONDS:
        took_s = 0.009 * float(np.exp(noise.normal(0, 0.015))) * (1.33 if held_back(t) else 1.0)
        took_s *= 3.0 if noise.random() < 0.002 else 1.0
        durations.append(round(took_s * 1000 * MS))
        t += took_s
    laws = {
        "temperature.cpu-thermal": heat,
        "temperature.gpu-thermal": lambda t: 0.8 * heat(t) + 5,
        "frequency.cpu0": lambda t: 1.5e9 if held_back(t) else 2.0e9,
        "frequency.gpu": lambda t: 0.625e9,
        "power.VDD_IN": lambda t: (5.6 if held_back(t) else 7.4) + 0.2 * math.sin(7 * t),
        "throttle.now.soft-temperature": lambda t: float(held_back(t)),
        "cap.cpu0": lambda t: 0.75 if held_back(t) else 1.0,
    }
    kinds = {
        "temperature": "temperature",
        "frequency": "frequency",
        "power": "power",
        "throttle": "flag",
        "cap": "ratio",
    }
    scopes = {
        "power.VDD_IN": "module input", "throttle.now.soft-temperature": "soft temperature limit",
        "cap.cpu0": "highest clock that is allowed",
    }  # fmt: skip
    sensors = [
        sensor(name, kinds[name.partition(".")[0]], scope=scopes.get(name, name.partition(".")[2])) for name in laws
    ]
    run = simple_run(durations, sensors, laws, device="board", provenance="emulated")
    run.environment["device"] = BOARD
    run.environment["note"] = "simulated for a picture"
    return run


def runs() -> list[Run]:
    """The hot run, and eight runs each of three variants."""
    asked = {"device": "board", "provenance": "emulated", "environment": {"device": BOARD}}
    made = [
        *several(12.4, 8, seed=1, model="net.fp32.onnx", **asked),
        *several(7.9, 8, seed=2, model="net.int8.onnx", sha="cd", **asked),
        *several(12.3, 8, seed=3, model="net.ternary.onnx", sha="ef", **asked),
    ]
    for run in made:
        run.spec = replace(run.spec, model=replace(run.spec.model, size_bytes=SIZES[run.spec.model.name]))
    return [board_run(), *made]


def main(folder: Path) -> None:
    """Writes the three pictures."""
    hot, *others = runs()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pages = {"hot": [hot], "all": others}
        for page, chosen in pages.items():
            (place / f"{page}.html").write_text(document(chosen, "2026-01-02 03:04:05 UTC"), encoding="utf-8")
        with Browser(place / "browser") as browser:
            for picture, page, width, height, dark, anchor in (
                ("report-wide", "hot", 1280, 900, False, ".chart[data-zoom]"),
                ("report-phone", "hot", 360, 740, False, ".chart[data-zoom]"),
                ("report-dark", "all", 1280, 900, True, "#comparison"),
            ):
                browser.look(width, height, dark=dark, phone=width < 500)
                browser.open(place / f"{page}.html")
                browser.ask("window.dispatchEvent(new Event('beforeprint'))")
                browser.wait_for(
                    "[...document.querySelectorAll('.run[open] .chart')].every((one) => one.dataset.drawn)"
                )
                browser.ask(
                    f"document.querySelector('{anchor}').scrollIntoView({{behavior: 'instant', block: 'start'}})"
                )
                browser.picture(folder / f"{picture}.webp")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"))
