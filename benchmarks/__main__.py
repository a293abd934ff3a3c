"""The benchmarks' command line: runs one, prints its table, and keeps it as JSON and as a picture."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

import benchmarks
from benchmarks.measure import machine, save

NOT_BENCHMARKS = {"__main__", "measure", "pytorch", "serving_clients"}


def main() -> None:
    """Run the benchmark that the command line names."""
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--data", default="synthetic", help="synthetic, or a folder of class folders")
    parser.add_argument("--quick", action="store_true", help="one case, or the smallest, with few repetitions")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder for JSON and pictures")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    benchmark = importlib.import_module(f"benchmarks.{arguments.name}")
    table = benchmark.run(arguments.data, arguments.quick)
    save(table, arguments.name, arguments.output, getattr(benchmark, "draw", None))


if __name__ == "__main__":
    main()
