"""Runs the benchmarks, all or those named: ``python benchmarks/run.py [PART…] [-- OPTION…]``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

PARTS = {
    "exact": "exact_rewrites.py",
    "int8": "int8.py",
    "memory": "memory.py",
    "pruning": "pruning.py",
    "scaling": "scaling.py",
    "calibration-cost": "calibration_cost.py",
    "real-input": "real_input.py",
    "fp32": "peers_fp32.py",
    "reduced": "peers_reduced.py",
    "calibration": "peers_calibration.py",
    "optimizers": "peers_optimizers.py",
    "conformance": "peers_conformance.py",
}
"""Word on the command line → script."""


def main(arguments: list[str]) -> int:
    """Run the parts one after the other; what follows the first option goes to every one."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(f"{__doc__}\n\nparts: {', '.join(PARTS)}; PART --help for the options of one")
        return 0
    first = next((n for n, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    names, options = arguments[:first], [word for word in arguments[first:] if word != "--"]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or PARTS:
        started = time.monotonic()
        script = Path(__file__).parent / PARTS[name]
        code = subprocess.run([sys.executable, str(script), *options], check=False).returncode
        print(f"{name}: {time.monotonic() - started:.0f} s, exit {code}", file=sys.stderr)
        failed += [name] if code else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
