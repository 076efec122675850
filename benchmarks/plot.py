"""Draws what `make bench` measured: one PNG per table, with the bare SDK's floor as a line.

python -m benchmarks.plot RESULTS.json FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FLOOR = "no-op exporter"
OURS, OTHERS = "#2f6f4f", "#9aa5b1"
TITLES = {
    "rate": "Events per second, first call to last delivery",
    "cpu": "CPU of the whole process, µs per event",
    "held": "The emitting thread is kept, µs per event (median)",
    "held99": "The emitting thread is kept, µs per event (99 of 100)",
    "bytes": "Bytes on the wire per event",
    "slow": "Events per second where every answer takes 50 ms",
    "import": "Milliseconds to import, over the SDK's own",
    "exit": "Milliseconds to end, endpoint silent",
    "memory": "MiB grown with 100,000 events waiting, endpoint silent",
    "reports": "Reports, milliseconds",
    "queue": "The queue on disk: items per second, by items per batch",
}


def draw(name: str, found: dict[str, float], folder: Path) -> None:
    """One horizontal bar per contender."""
    floor = found.get(FLOOR)
    bars = {who: value for who, value in found.items() if who != FLOOR}
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(bars) + 1.1), layout="constrained")
    colours = [OURS if who.startswith("usagewire") else OTHERS for who in bars]
    label = "{:,.2f}" if max(bars.values()) < 20 else "{:,.1f}"
    axes.bar_label(axes.barh(list(bars), list(bars.values()), color=colours), fmt=label, padding=3, fontsize=8)
    if floor:
        axes.axvline(floor, color="black", linewidth=0.8, linestyle=":")
        axes.annotate("the bare SDK", (floor, -0.5), fontsize=7, ha="center", annotation_clip=False)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(TITLES[name], fontsize=10, loc="left", pad=14)
    figure.savefig(folder / f"{name}.png", dpi=120)
    plt.close(figure)


def draw_queue(found: dict[str, dict[str, float]], folder: Path) -> None:
    """One line for each, on logarithmic scales. Processes that put have marks, the rest is for scale."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, rates in found.items():
        ours = name[0].isdecimal()
        style: dict[str, Any] = {"marker": "o", "markersize": 3} if ours else {"linestyle": ":"}
        axes.loglog([int(batch) for batch in rates], list(rates.values()), label=name, linewidth=1.2, **style)
    axes.legend(fontsize=7, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(TITLES["queue"], fontsize=10, loc="left", pad=14)
    figure.savefig(folder / "queue.png", dpi=120)
    plt.close(figure)


def main() -> None:
    """Read the results, draw each."""
    results: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    cost: dict[str, dict[str, float]] = results["cost"]
    for name in ("rate", "cpu", "held", "held99", "bytes"):
        draw(name, {who: found[name] for who, found in cost.items() if found[name]}, folder)
    draw("slow", {who: found["rate"] for who, found in results["slow"].items() if who != FLOOR}, folder)
    for name, found in results["edges"].items():
        draw(name, found, folder)
    draw("reports", results["reports"], folder)
    draw_queue(results["queue"], folder)


if __name__ == "__main__":
    main()
