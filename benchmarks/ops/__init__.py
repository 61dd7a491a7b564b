"""The ops that are measured: the `registry` of their cases, the `providers` that take part and whether they may (`gate`), in which
order (`schedule`), and TSSL-BP as published (`published_tssl_bp`).

What each op is measured on, and against, stands in its case file (tests/helpers/op_cases), beside what the tests know of it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))
