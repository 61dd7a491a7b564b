"""TSSL-BP neurons with their synapses."""

import torch
from op_tests import measured
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module
from op_tests.measured import THRESHOLD, Op
from op_tests.transformed import of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn

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

_VALUES = dict(tau_m=5.0, tau_s=3.0, threshold=0.5)
NUMBERS = {
    SF.tssl_bp: (lambda **o: [SF.tssl_bp(ROW, **o)], _VALUES),
    snn.TSSLBP: (lambda **o: [snn.TSSLBP(**o)(ROW)], _VALUES),
}
TRANSFORMED = {
    "tssl_bp": of_x(lambda x: SF.tssl_bp(x)),
    "tssl_bp/spikes": of_x(lambda x: SF.tssl_bp(x, 4.0, 2.0, return_spikes=True)),
    "TSSLBP": of_module(lambda: snn.TSSLBP(return_spikes=True)),
}

_TAU_M, _TAU_S = 5.0, 3.0


class _Eager(torch.autograd.Function):
    """In plain PyTorch, keeping what the way back needs: faster than the definition, which works it out once more."""

    @staticmethod
    def forward(ctx, x):
        v = a = torch.zeros_like(x[0])
        history = []
        for x_t in x:
            du = x_t - 1 / _TAU_M * v
            u = v + du
            s = (u > THRESHOLD).to(u.dtype)
            v = torch.where(s > 0, 0.0, u)
            a = a + 1 / _TAU_S * (s - a)
            history.append((u, du, a, s))
        us, dus, psc, spikes = map(torch.stack, zip(*history))
        ctx.save_for_backward(us, dus, psc, spikes)
        return psc

    @staticmethod
    def backward(ctx, grad_psc):
        us, dus, psc, spikes = ctx.saved_tensors
        g = carry = torch.zeros_like(us[0])
        grad_x = []
        for grad, u, du, a, s in reversed(list(zip(grad_psc, us, dus, psc, spikes))):
            g = 1 / _TAU_S * grad + (1 - 1 / _TAU_S) * g
            p = torch.where(s > 0, (-1 / du).clamp(-8, 0), 0.0)
            carry = torch.where(s > 0, carry * u * (-1 / _TAU_M) * p - p * g, carry * (1 - 1 / _TAU_M))
            e = torch.exp(((THRESHOLD - u) / 0.2).clamp(-8, 8))
            grad_x.append(torch.where(a < 1 / (4 * _TAU_S), g * (e / (0.2 * (1 + e) ** 2)), carry))
        return torch.stack(grad_x[::-1])


MEASURED = (
    Op(
        "tssl_bp",
        fused=lambda x, T: SF.tssl_bp(x),
        eager=lambda x, T: _Eager.apply(x),
        make_input=measured.currents,
        tests=("test_tssl_bp.py", "test_golden_tssl_bp.py"),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
    ),
)
