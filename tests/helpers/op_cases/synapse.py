"""First-order synapses."""

from op_tests import measured
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module
from op_tests.measured import Op
from op_tests.transformed import LINEAR, WORKS, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference

RAW = {
    "synaptic_filter": lambda i: ("synaptic_filter_forward", (i.x(), 3.0)),
    "synaptic_filter_backward": lambda i: ("synaptic_filter_backward", (i.gradient(), 3.0)),
}

_FILTER = dict(arguments=lambda i: {"spikes": i.x()}, differentiable=("spikes",), is_linear=True)
CALLS = (
    Call(name="synaptic_filter", options={"tau_s": 3.0}, positive=("tau_s",), ranges={"tau_s": (0.6, 50.0)}, **_FILTER),
    Call(name="synaptic_filter/memoryless", options={"tau_s": 1.0}, on_device=False, **_FILTER),
)

MODULES = (
    Module(kind=snn.SynapticFilter, options=dict(tau_s=2.0), function=lambda x, tau_s=3.0: SF.synaptic_filter(x, tau_s)),
)  # fmt: skip

NUMBERS = {
    SF.synaptic_filter: (lambda **o: [SF.synaptic_filter(ROW, **o)], dict(tau_s=3.0)),
    snn.SynapticFilter: (lambda **o: [snn.SynapticFilter(**o)(ROW)], dict(tau_s=3.0)),
}
TRANSFORMED = {
    "synaptic_filter": of_x(lambda x: SF.synaptic_filter(x, 3.0), **LINEAR),
    "SynapticFilter": of_module(lambda: snn.SynapticFilter(3.0), forward=WORKS),
}

MEASURED = (
    Op(
        "synaptic_filter",
        fused=lambda x, T: SF.synaptic_filter(x, 3.0),
        eager=lambda x, T: reference.synaptic_filter(x, 3.0),
        make_input=measured.spikes,
        tests=("test_synapse.py",),
        moves=lambda T, N: (8 * T * N, 8 * T * N),
        has_gradient=True,
        backward_reads_input=False,
    ),
)
