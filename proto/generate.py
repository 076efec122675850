"""Generates the Python code of every .proto file: `make proto`, or with ``--to FOLDER`` somewhere else to compare.

The compiler is protoc 26.1, which comes in grpcio-tools 1.63.2: the last whose Python code runs on protobuf 5, 6 and 7
alike. From 27.0 on the code refuses every runtime but its own major version and the next. It is the one that
OpenTelemetry uses for its own packages, too. Its package asks for protobuf < 6, which the compiler itself does not use;
so it lies in a folder of its own (.venv/protoc, see the Makefile) and not among the development tools.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

PROTO = Path(__file__).resolve().parent
ROOT = PROTO.parent
COMPILER = ROOT / ".venv" / "protoc"


def main() -> None:
    """Generate into the source root, where import path and file path agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "exporters", help="source root to write to")
    target = parser.parse_args().to
    sources = [str(path.relative_to(PROTO)) for path in sorted(PROTO.rglob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={target}", f"--pyi_out={target}"]
    path = os.pathsep.join(filter(None, (str(COMPILER), os.environ.get("PYTHONPATH"))))
    sys.exit(subprocess.run([*command, *sources], env={**os.environ, "PYTHONPATH": path}, check=False).returncode)


if __name__ == "__main__":
    main()
