"""The benchmark tooling is no package: its folder goes on the path, as when its scripts run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
