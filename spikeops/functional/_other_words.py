"""Options under the names that other libraries give them: the error says which of ours is meant. Signatures stay as written."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_SURROGATE = "surrogate=, one of spikeops.surrogate, such as ATan(2.0)"
_THRESHOLD = "threshold="
_NOT_LEARNED = "nothing: thresholds are not learned here"

# SpikingJelly, snnTorch, Norse, sinabs, BindsNET, Brian; README ("The same neuron elsewhere") has whole rows of them.
NEURON = {
    "tau": "decay=1 - 1/tau or exp(-1/tau)",
    "tau_m": "decay=1 - 1/tau_m or exp(-1/tau_m)",
    "tau_mem": "decay=exp(-1/tau_mem)",
    "tau_mem_inv": "decay=1 - dt * tau_mem_inv",
    "beta": "decay=beta",
    "leak": "decay=leak",
    "tc_decay": "decay=exp(-dt/tc_decay)",
    "alpha_mem": "decay=alpha_mem",
    "alpha": f"the parameter of the surrogate: {_SURROGATE}",
    "slope": f"the parameter of the surrogate: {_SURROGATE}",
    "v_threshold": _THRESHOLD,
    "v_th": _THRESHOLD,
    "vth": _THRESHOLD,
    "thresh": _THRESHOLD,
    "threshold_voltage": _THRESHOLD,
    "spike_threshold": _THRESHOLD,
    "surrogate_function": _SURROGATE,
    "surrogate_fn": _SURROGATE,
    "surrogate_grad_fn": _SURROGATE,
    "spike_grad": _SURROGATE,
    "spike_fn": _SURROGATE,
    "decay_input": "input_scale=1/tau for decay_input=True, input_scale=1 for False",
    "reset_mechanism": 'reset="subtract", reset="to" (for "zero") or reset="none"',
    "reset_fn": 'reset="subtract" or reset="to"',
    "soft_reset": 'reset="subtract"',
    "hard_reset": 'reset="to"',
    "reset_value": 'reset="to", v_reset=',
    "v_leak": "v_rest=",
    "rest": "v_rest=",
    "reset_delay": "a late reset by reset_amount=threshold/beta, strict=True, detach_reset=True",
    "learn_beta": "a decay tensor that requires a gradient, or spikeops.nn.ParametricLIF",
    "init_tau": "spikeops.nn.ParametricLIF(decay=1 - 1/init_tau)",
    "learn_threshold": _NOT_LEARNED,
    "train_threshold": _NOT_LEARNED,
    "step_mode": "nothing: x is a sequence (T, ...) always",
    "store_v_seq": "nothing: the potential after the last step is returned, those of all steps are not kept",
    "init_hidden": "v_init=, and the v_last that is returned: there is no hidden state",
    "output": "nothing: the state is returned with the spikes (return_state=True of modules)",
    "mem": "v_init=",
    "init_mem": "v_init=",
    "state": "v_init=",
    "num_steps": "time_steps=, for an input without a time axis",
    "timesteps": "time_steps=, for an input without a time axis",
    "T": "time_steps=, for an input without a time axis",
    "backend": "spikeops.set_backend()",
}
# Of lif and its modules, which have more options.
LIF = NEURON | {
    "decay_input": "input_scale=1/tau for decay_input=True, input_scale=1 for False; it is an option of spikeops.nn.ParametricLIF",
    "reset_delay": 'strict=True, and reset_timing="late" where it is True, "guarded" (or reset="to") where it is False',
    "learn_threshold": "a threshold tensor that requires a gradient, or torch.nn.Parameter of a module",
    "train_threshold": "a threshold tensor that requires a gradient, or torch.nn.Parameter of a module",
    "store_v_seq": 'return_trace="after"',
    "record_states": 'return_trace="after"',
    "min_v_mem": "v_min=",
    "max_spike_count": 'max_spikes=, with rounding="nearest"',
    "max_num_spikes_per_bin": "max_spikes=",
    "grad_scale": "the height of the surrogate",
}
FILTER = {
    "tau": "tau_s=, the time constant in time steps",
    "tau_syn": "tau_s=, the time constant in time steps",
    "alpha": "tau_s=1/(1 - alpha)",
    "beta": "tau_s=1/(1 - beta)",
    "decay": "tau_s=1/(1 - decay)",
    "step_mode": NEURON["step_mode"],
}
CUBA = {
    **NEURON,
    **dict.fromkeys(("alpha", "alpha_syn", "c_decay"), "current_decay="),
    **dict.fromkeys(("v_decay", "beta"), "decay="),
    "tau_syn": "current_decay=exp(-1/tau_syn) or 1 - 1/tau_syn",
    "tau_s": "current_decay=exp(-1/tau_s) or 1 - 1/tau_s",
    "tau_syn_inv": "current_decay=1 - dt * tau_syn_inv",
    "norm_input": "current_scale=1 - decay",
    "reset_delay": 'reset_timing="late", for the mechanism "zero" reset_timing="late_with_input"',
    "syn": "i_init=",
    "w_in": "input_scale=w_in * dt/tau_syn",
    "r": "current_scale=r * dt/tau_mem",
    **dict.fromkeys(("learn_alpha", "learn_beta"), "a decay tensor that requires a gradient, or learn_decays=True of spikeops.nn.CubaLIF"),
    "learn_threshold": "a threshold tensor that requires a gradient",
}
RECURRENT = {
    **CUBA,
    "V": "weight=, of shape (N,), for connections one to one",
    "recurrent_weights": "weight=",
    "rec_connect": "weight=, and bias=, of the linear layer",
    "linear_features": "features=, the number of neurons",
    "hidden_size": "features=, the number of neurons",
    "learn_recurrent": "weight.requires_grad_()",
    "spk": "s_init=",
    "b_init": "a_init=",
    "num_steps": "x.expand(num_steps, *x.shape)",
    "timesteps": "x.expand(timesteps, *x.shape)",
    "T": "x.expand(T, *x.shape)",
    "time_steps": "x.expand(time_steps, *x.shape)",
}
READOUT = {
    **{word: hint for word, hint in NEURON.items() if hint.startswith(("decay=", "v_rest=", "v_init=", "time_steps="))},
    "step_mode": NEURON["step_mode"],
    "decay_input": "input_scale=1/tau for decay_input=True, input_scale=1 for False",
    "norm_input": "input_scale=1 - decay",
    "store_v_seq": "nothing: the potentials of all steps are what is returned",
}
TSSL = {
    **{word: hint for word, hint in NEURON.items() if hint in (_THRESHOLD, NEURON["step_mode"])},
    "tau": "tau_m= of the membrane and tau_s= of the synapse, in time steps",
    "tau_mem": "tau_m=",
    "tau_syn": "tau_s=",
    "decay": "tau_m=1/(1 - decay)",
    "beta": "tau_m=1/(1 - beta)",
}
CLAMPED = {
    **{word: hint for word, hint in NEURON.items() if hint == NEURON["T"] or word in ("step_mode", "store_v_seq", "backend")},
    **dict.fromkeys(("learn_threshold", "train_threshold"), "nothing: thresholds are learned unless they require no gradient"),
    **dict.fromkeys(("tau", "tau_m", "tau_mem"), "leak=1/tau, in 1/s, for a time constant in seconds"),
    **dict.fromkeys(("decay", "beta"), "leak=(1 - decay)/dt, in 1/s"),
    "learn_beta": "nothing: the leak is not learned here",
}
ENCODER = dict.fromkeys(("num_steps", "time_steps", "timesteps", "time", "seq_length"), "T=, the number of time steps")
FEEDBACK = {word: hint.replace("decay=", "leak=") for word, hint in NEURON.items() if "decay=" in hint or hint == _THRESHOLD} | {
    "decay": "leak=decay",
    "u_reset": "reset_amount=",
}
LOCAL = {
    **{word: hint for word, hint in NEURON.items() if hint in (_THRESHOLD, _SURROGATE, NEURON["step_mode"])},
    "decay": "tau=-1/log(decay)",
    "beta": "tau=-1/log(beta)",
    "tau_m": "tau=",
    "num_steps": "time_steps=",
    "T": "time_steps=",
}


def explain_other_words(words: Mapping[str, str]) -> Callable[[Function], Function]:
    """Has a function, or the ``__init__`` of a class, refuse such keywords with a hint. Those of its own parameters are left out.

    Not by catching the error: a compiler that traces the function could not follow, and names are looked at only where there are any.
    """

    def decorate(function: Function) -> Function:
        hints = {word: hint for word, hint in words.items() if word not in inspect.signature(function).parameters}
        others, title = frozenset(hints), function.__qualname__

        def refuse(word: str) -> None:
            raise TypeError(f"{title}() got an unexpected keyword argument {word!r}. Hint: here that is {hints[word]}.")

        def call(*args, **kwargs):
            for word in kwargs:
                if word in others:
                    refuse(word)
            return function(*args, **kwargs)

        # Code of its own, for Dynamo, which keeps what it compiled with it; and the globals of the function, for doctest.
        code = call.__code__.replace(co_name=function.__name__)
        wrapper = types.FunctionType(code, function.__globals__, function.__name__, None, call.__closure__)
        return functools.update_wrapper(wrapper, function)  # type: ignore[return-value]

    return decorate
