"""Everything `make bench` measures, one after the other; results and pictures go to benchmarks/results/.

python -m benchmarks.all [--quick]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import queue
from benchmarks.cost import table

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def run(script: str, *arguments: str) -> Any:
    """The JSON that one of the scripts prints; its progress goes to the terminal."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *arguments, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    """Run, save, draw, print."""
    quick = "--quick" in sys.argv
    rounds = "1" if quick else "5"
    results = {
        "cost": run("cost", "--rounds", rounds),
        "slow": run("cost", "--rounds", "1", "--events", "50000", "--latency-millis", "50"),
        "edges": run("edges", "--rounds", rounds, "--waiting", "20000" if quick else "100000"),
        "reports": run("reports", "--rounds", rounds),
        "queue": run("queue", "--rounds", "1" if quick else "3"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "results.json").write_text(json.dumps(results, indent=2))
    table(results["cost"])
    print("\nevents/s where every answer takes 50 ms")
    for name, found in results["slow"].items():
        print(f"    {name:52}{found['rate']:12,.0f}")
    for key, by_name in (*results["edges"].items(), ("reports (ms)", results["reports"])):
        print(f"\n{key}")
        for name, value in by_name.items():
            print(f"    {name:52}{value:12,.2f}")
    print()
    queue.table(results["queue"])
    subprocess.run([sys.executable, "-m", "benchmarks.plot", str(RESULTS / "results.json"), str(RESULTS)], check=True)
    print(f"\nresults and pictures: {RESULTS}")


if __name__ == "__main__":
    main()
