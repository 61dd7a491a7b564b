"""The calls of all ops on a device, in each of their ways."""

from __future__ import annotations

import op_cases
from gpu_tests.calls import CALLS, DeviceCall, of_call

_CHOICES = 3  # of an option: all but for surrogates, which differ in one function


def every_way() -> list[DeviceCall]:
    """Those of the tests, those that work in place with nothing that is optional, and others until each choice was made once."""
    ways = [*CALLS]
    for call in op_cases.CALLS.values():
        if not call.on_device:
            continue
        if call.written and call.spreads:
            ways.append(of_call(call, {name: values[-1] for name, values in call.spreads.items()}))
        choices = {name: values for name, values in call.ranges.items() if isinstance(values, list)}
        for k in range(1, _CHOICES if choices else 1):
            ways.append(of_call(call, **{name: values[k % len(values)] for name, values in choices.items()}))
    return ways
