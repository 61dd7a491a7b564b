"""TSSL-BP neurons with their synapses."""

from op_tests import measured
from op_tests.kinds import Call, Module
from op_tests.measured import Op

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference

RAW = {
    "tssl_bp": lambda i: ("tssl_bp_forward", (i.x(), 5.0, 3.0, 1.0, False)),
    "tssl_bp/spikes": lambda i: ("tssl_bp_forward", (i.x(), 5.0, 3.0, 1.0, True)),
    "tssl_bp_backward": lambda i: ("tssl_bp_backward", (i.gradient(), i.x(), 5.0, 3.0, 1.0)),
}

_TSSL_BP = dict(arguments=lambda i: {"x": i.x()}, differentiable=("x",), keeps=("x",))
CALLS = (
    Call(name="tssl_bp", positive=("tau_m", "tau_s"), float32=("threshold",), on_device=False, **_TSSL_BP),
    Call(name="tssl_bp/spikes", options={"return_spikes": True}, spikes=1,
         ranges={"tau_m": (0.8, 50.0), "tau_s": (0.6, 50.0), "threshold": (-0.5, 2.0)}, **_TSSL_BP),
    Call(name="tssl_bp/memoryless", options={"return_spikes": True, "tau_m": 1.0, "tau_s": 1.0}, on_device=False, **_TSSL_BP),
)  # fmt: skip

MODULES = (
    Module(kind=snn.TSSLBP, options=dict(tau_m=6.0, tau_s=2.0, threshold=0.5, return_spikes=True), function=SF.tssl_bp,
           samples=(dict(tau_m=8, tau_s=4, threshold=0.5),)),
)  # fmt: skip

MEASURED = (
    Op(
        "tssl_bp",
        fused=lambda x, T: SF.tssl_bp(x),
        eager=lambda x, T: reference.tssl_bp(x),
        make_input=measured.currents,
        tests=("test_tssl_bp.py", "test_golden_tssl_bp.py"),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
    ),
)
