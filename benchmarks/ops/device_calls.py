"""The calls of all ops on a device, in each of their ways."""

from __future__ import annotations

import op_cases
from gpu_tests.calls import DeviceCall, of_call, of_sequence

_CHOICES = 3  # of an option: all but for surrogates, which differ in one function


def every_way() -> list[DeviceCall]:
    """All calls; those that work in place with nothing that is optional; those with choices until each was made once."""
    ways = [of_sequence(sequence) for sequence in op_cases.ON_DEVICE.values()]
    for call in op_cases.CALLS.values():
        ways.append(of_call(call))
        if call.written and call.spreads:
            ways.append(of_call(call, {name: values[-1] for name, values in call.spreads.items()}))
        choices = {name: values for name, values in call.ranges.items() if isinstance(values, list)}
        for k in range(1, _CHOICES if choices else 1):
            ways.append(of_call(call, **{name: values[k % len(values)] for name, values in choices.items()}))
    return ways
