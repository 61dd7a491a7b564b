"""Spiking neurons and synapses."""

from __future__ import annotations

import math

import torch
from torch import nn

from spikeops import functional as SF
from spikeops.functional import _checks
from spikeops.functional._general_lif import GeneralOptions, ResetTiming, Rounding, Trace, checked_general_options, trace_name
from spikeops.functional._lif_kept import Save, checked_save
from spikeops.functional._lif_options import LIFOptions, Reset, checked_options
from spikeops.functional._other_words import CLAMPED, FILTER, NEURON, TSSL, explain_other_words
from spikeops.functional._other_words import LIF as LIF_WORDS
from spikeops.functional.alif import run_alif
from spikeops.functional.lif import run_lif
from spikeops.nn._decays import decay_parameter, given_decay
from spikeops.nn._repr import call_arguments
from spikeops.surrogate import ATan, Surrogate

__all__ = ["ALIF", "ClampedLIF", "IF", "LIF", "ParametricLIF", "SynapticFilter", "TSSLBP"]


class LIFNeurons(nn.Module):
    """What the LIF modules share; subclasses provide ``decay``."""

    decay: float | torch.Tensor
    save: Save = "input"

    def __init__(
        self, threshold: float | torch.Tensor, options: LIFOptions, general: GeneralOptions, return_trace: Trace, return_state: bool,
        save: Save = "input",
    ):  # fmt: skip
        super().__init__()
        name = type(self).__name__
        _checks.flag(name, "return_state", return_state)
        trace = trace_name(name, return_trace)
        threshold, options = checked_options(name, threshold, options, in_general=True)
        self.general, self.return_trace, self.return_state = checked_general_options(name, options, general), return_trace, return_state
        checked_save(name, save, False, threshold, options, self.general, trace)
        self.save = save
        self.tensor_options: tuple[str, ...] = ()
        for option, value in options._asdict().items():
            if isinstance(value, torch.Tensor):
                self._register(option, value)
                self.tensor_options += (option,)
        self.options = options._replace(**{option: LIFOptions._field_defaults[option] for option in self.tensor_options})
        if isinstance(threshold, torch.Tensor):
            self._register("threshold", threshold)
        else:
            self.threshold = threshold

    def _register(self, name: str, value: torch.Tensor) -> None:
        _checks.floating(type(self).__name__, name, value)
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value)

    def forward(
        self, x: torch.Tensor, v_init: torch.Tensor | None = None, time_steps: int | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        spikes, v_last, *trace = run_lif(
            x, self.decay, self.threshold, self._options(), v_init, time_steps, self.general, self.return_trace, self.save
        )
        outputs = (spikes, v_last, *trace) if self.return_state else (spikes, *trace)
        return outputs if len(outputs) > 1 else spikes

    def _options(self) -> LIFOptions:
        return self.options._replace(**{name: getattr(self, name) for name in self.tensor_options}) if self.tensor_options else self.options

    def _shown(self) -> dict[str, object]:
        """Arguments that are no attributes."""
        return self.options._asdict() | self.general._asdict()


class LIF(LIFNeurons):
    """Leaky integrate-and-fire neurons: :func:`spikeops.functional.lif` as a module.

    Args:
        decay, threshold, ...: as in :func:`spikeops.functional.lif`. What can be wrong with them alone is said here.
        threshold, input_scale, reset_amount: if parameters (``torch.nn.Parameter``), they are the module's, and learned; other tensors
            are its buffers.
        return_state: return ``(spikes, v_last)`` instead of the spikes, to go on with the next piece of a sequence; with return_trace
            ``(spikes, v_last, trace)`` instead of ``(spikes, trace)``.

    Attributes:
        decay, threshold, return_state, return_trace, save: as given; they can be set. options, general: the other arguments but tensors,
            together: named tuples.

    Shapes:
        x (T, ...), v_init (...) or None -> spikes (T, ...), v_last (...), trace (T, ...). With ``time_steps=T``, x (...) is the same in
        all of them.

    Example:
        >>> spikes = snn.LIF(decay=0.9)(torch.rand(8, 32, 100))
        >>> snn.LIF(decay=0.9)(torch.rand(32, 100), time_steps=8).shape
        torch.Size([8, 32, 100])
        >>> neurons = snn.LIF(0.9, torch.nn.Parameter(torch.ones(100)))  # learnable thresholds
    """

    @explain_other_words(LIF_WORDS)
    def __init__(self, decay: float = 0.5, threshold: float | torch.Tensor = 1.0, *, input_scale: float | torch.Tensor = 1.0,
                 reset: Reset = "subtract", reset_amount: float | torch.Tensor | None = None, v_reset: float = 0.0, v_rest: float = 0.0,
                 strict: bool = False, detach_reset: bool = False, surrogate: Surrogate = ATan(2.0), reset_timing: ResetTiming = "now",
                 v_min: float | None = None, max_spikes: int | None = 1, rounding: Rounding = "down", return_trace: Trace = False,
                 save: Save = "input", return_state: bool = False):  # fmt: skip
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        general = GeneralOptions(reset_timing, v_min, max_spikes, rounding)
        super().__init__(threshold, options, general, return_trace, return_state, save)
        self.decay = given_decay(type(self).__name__, "decay", decay)

    def extra_repr(self) -> str:
        return call_arguments(self, LIF.__init__, **self._shown())


class IF(LIF):
    """Integrate-and-fire neurons: :class:`LIF` without a leak (decay = 1).

    Args:
        threshold, ...: as in :class:`LIF`.

    Example:
        >>> spikes = snn.IF()(torch.rand(8, 32, 100))
    """

    @explain_other_words(LIF_WORDS)
    def __init__(self, threshold: float | torch.Tensor = 1.0, *, input_scale: float | torch.Tensor = 1.0,
                 reset: Reset = "subtract", reset_amount: float | torch.Tensor | None = None, v_reset: float = 0.0, v_rest: float = 0.0,
                 strict: bool = False, detach_reset: bool = False, surrogate: Surrogate = ATan(2.0), reset_timing: ResetTiming = "now",
                 v_min: float | None = None, max_spikes: int | None = 1, rounding: Rounding = "down", return_trace: Trace = False,
                 save: Save = "input", return_state: bool = False):  # fmt: skip
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        general = GeneralOptions(reset_timing, v_min, max_spikes, rounding)
        super().__init__(
            1.0, threshold, return_state=return_state, return_trace=return_trace, save=save, **options._asdict(), **general._asdict()
        )

    def extra_repr(self) -> str:
        return call_arguments(self, IF.__init__, **self._shown())


class ParametricLIF(LIFNeurons):
    """:class:`LIF` with a learnable decay, ``sigmoid(decay_logit)`` (after Fang et al., "Incorporating Learnable Membrane Time
    Constant", ICCV 2021, which is ``decay_input=True``).

    Args:
        decay: initial value, between 0 and 1.
        threshold, ...: as in :class:`LIF`.
        decay_input: scale the input by 1 - decay, too, as published.
        shape: of the parameter, broadcastable to one time step of the input: () for one decay, (C, 1, 1) for one per channel.

    Raises:
        ValueError: an initial decay outside (0, 1).

    Example:
        >>> spikes = snn.ParametricLIF(0.5, shape=(100,))(torch.rand(8, 32, 100))
    """

    @explain_other_words(LIF_WORDS | {"save": "nothing: the gradient of a decay needs the input. LIF and IF have this option"})
    def __init__(self, decay: float = 0.5, threshold: float | torch.Tensor = 1.0, *, shape: tuple[int, ...] = (),
                 decay_input: bool = False, input_scale: float | torch.Tensor = 1.0, reset: Reset = "subtract",
                 reset_amount: float | torch.Tensor | None = None, v_reset: float = 0.0, v_rest: float = 0.0, strict: bool = False,
                 detach_reset: bool = False, surrogate: Surrogate = ATan(2.0), reset_timing: ResetTiming = "now",
                 v_min: float | None = None, max_spikes: int | None = 1, rounding: Rounding = "down", return_trace: Trace = False,
                 return_state: bool = False):  # fmt: skip
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        general = GeneralOptions(reset_timing, v_min, max_spikes, rounding)
        super().__init__(threshold, options, general, return_trace, return_state)
        _checks.flag("ParametricLIF", "decay_input", decay_input)
        self.decay_input = decay_input
        self.initial_decay, self.decay_logit = decay_parameter("ParametricLIF", "decay", decay, shape)

    @property
    def decay(self) -> torch.Tensor:  # type: ignore[override]
        return torch.sigmoid(self.decay_logit)

    def _options(self) -> LIFOptions:
        options = super()._options()
        # 1 - decay, without its rounding.
        return options._replace(input_scale=options.input_scale * torch.sigmoid(-self.decay_logit)) if self.decay_input else options

    def extra_repr(self) -> str:
        shape = tuple(self.decay_logit.shape)
        return call_arguments(self, ParametricLIF.__init__, decay=self.initial_decay, shape=shape, **self._shown())


class ALIF(nn.Module):
    """Leaky integrate-and-fire neurons with an adaptive threshold: :func:`spikeops.functional.alif` as a module.

    Args:
        decay, threshold, ...: as in :func:`spikeops.functional.alif`.
        learn_decays: learn both decays, as sigmoids of the parameters ``decay_logit`` and ``adaptation_decay_logit``; their initial
            values then lie between 0 and 1.
        shape: of these parameters, broadcastable to one time step of the input: () for one decay, (C, 1, 1) for one per channel.
        return_state: return ``(spikes, v_last, a_last)`` instead of the spikes, to go on with the next piece of a sequence.

    Shapes:
        x (T, ...), v_init and a_init (...) or None -> spikes (T, ...), v_last and a_last (...). With ``time_steps=T``, x (...) is the
        same in all of them.

    Raises:
        TypeError, ValueError: an option that cannot be, an initial decay outside (0, 1).

    Example:
        >>> spikes = snn.ALIF(0.9, adaptation_decay=0.99, beta=0.1, learn_decays=True, shape=(100,))(torch.rand(8, 32, 100))
    """

    @explain_other_words(NEURON)
    def __init__(self, decay: float = 0.5, threshold: float = 1.0, *, adaptation_decay: float = 0.9, beta: float = 0.2,
                 learn_decays: bool = False, shape: tuple[int, ...] = (), input_scale: float = 1.0, reset: Reset = "subtract",
                 reset_amount: float | None = None, v_reset: float = 0.0, v_rest: float = 0.0, strict: bool = False,
                 detach_reset: bool = False, surrogate: Surrogate = ATan(2.0), return_state: bool = False):  # fmt: skip
        super().__init__()
        _checks.flag("ALIF", "learn_decays", learn_decays)
        _checks.flag("ALIF", "return_state", return_state)
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        self.threshold, self.options = checked_options("ALIF", threshold, options)
        self.beta, self.learn_decays, self.return_state = _checks.number("ALIF", "beta", beta), learn_decays, return_state
        if learn_decays:
            self.initial_decay, self.decay_logit = decay_parameter("ALIF", "decay", decay, shape)
            self.initial_adaptation_decay, self.adaptation_decay_logit = decay_parameter(
                "ALIF", "adaptation_decay", adaptation_decay, shape
            )
        else:
            self.initial_decay = _checks.decay("ALIF", "decay", decay)
            self.initial_adaptation_decay = _checks.decay("ALIF", "adaptation_decay", adaptation_decay)

    @property
    def decay(self) -> float | torch.Tensor:
        return torch.sigmoid(self.decay_logit) if self.learn_decays else self.initial_decay

    @property
    def adaptation_decay(self) -> float | torch.Tensor:
        return torch.sigmoid(self.adaptation_decay_logit) if self.learn_decays else self.initial_adaptation_decay

    def forward(
        self, x: torch.Tensor, v_init: torch.Tensor | None = None, a_init: torch.Tensor | None = None, time_steps: int | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        outputs = run_alif(x, self.decay, self.threshold, self.adaptation_decay, self.beta, self.options, v_init, a_init, time_steps)
        return outputs if self.return_state else outputs[0]

    def extra_repr(self) -> str:
        return call_arguments(
            self, ALIF.__init__, decay=self.initial_decay, adaptation_decay=self.initial_adaptation_decay,
            shape=tuple(self.decay_logit.shape) if self.learn_decays else (), **self.options._asdict(),
        )  # fmt: skip


class TSSLBP(nn.Module):
    """Spiking neurons with their synapses, trained by TSSL-BP: :func:`spikeops.functional.tssl_bp` as a module.

    Args:
        tau_m: membrane time constant, in time steps.
        tau_s: synaptic time constant, in time steps.
        threshold: firing threshold.
        return_spikes: return ``(post-synaptic current, spikes)``.

    Shapes:
        x (T, ...) -> post-synaptic current (T, ...).

    Example:
        >>> psc = snn.TSSLBP(tau_m=5, tau_s=3)(torch.rand(5, 32, 100))
    """

    @explain_other_words(TSSL)
    def __init__(self, tau_m: float = 5.0, tau_s: float = 3.0, threshold: float = 1.0, return_spikes: bool = False):
        super().__init__()
        self.tau_m, self.tau_s = _checks.positive("TSSLBP", "tau_m", tau_m), _checks.positive("TSSLBP", "tau_s", tau_s)
        _checks.flag("TSSLBP", "return_spikes", return_spikes)
        self.threshold, self.return_spikes = _checks.number("TSSLBP", "threshold", threshold), return_spikes

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        return SF.tssl_bp(x, self.tau_m, self.tau_s, self.threshold, self.return_spikes)

    def extra_repr(self) -> str:
        return call_arguments(self, TSSLBP.__init__)


class SynapticFilter(nn.Module):
    """First-order synapse: :func:`spikeops.functional.synaptic_filter` as a module.

    Args:
        tau_s: synaptic time constant, in time steps.

    Shapes:
        spikes (T, ...) -> post-synaptic current (T, ...).

    Example:
        >>> psc = snn.SynapticFilter(tau_s=3)(torch.rand(5, 32, 100))
    """

    @explain_other_words(FILTER)
    def __init__(self, tau_s: float = 3.0):
        super().__init__()
        self.tau_s = _checks.positive("SynapticFilter", "tau_s", tau_s)

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        return SF.synaptic_filter(spikes, self.tau_s)

    def extra_repr(self) -> str:
        return call_arguments(self, SynapticFilter.__init__)


class ClampedLIF(nn.Module):
    """Neurons of the published spiking networks with local losses: :func:`spikeops.functional.clamped_lif` as a module, with its
    thresholds.

    Args:
        units: number of units, or of channels, that have a threshold each.
        time_steps, dt, leak, threshold_gain, threshold_drift: as in :func:`spikeops.functional.clamped_lif`.

    Attributes:
        threshold: (units,), learned. At first uniform between ``-1 / sqrt(units)`` and ``1 / sqrt(units)``, as published: half of
            them are negative.

    Shapes:
        x (N, units) or (N, units, ...) -> spike counts and membrane potentials of the same shape.

    Raises:
        TypeError: a number of a wrong type. ValueError: no units, or a number out of range.

    Example:
        >>> counts, v = snn.ClampedLIF(100)(torch.rand(32, 100))
    """

    @explain_other_words(CLAMPED)
    def __init__(self, units: int, *, time_steps: int = 3, dt: float = 3e-5, leak: float = 2.0, threshold_gain: float = 1e7,
                 threshold_drift: float = 0.1):  # fmt: skip
        super().__init__()
        self.units = _checks.whole("ClampedLIF", "units", units, 1)
        self.time_steps = _checks.time_count("ClampedLIF", time_steps, "time_steps")
        self.dt, self.leak = _checks.positive("ClampedLIF", "dt", dt), _checks.number("ClampedLIF", "leak", leak)
        self.threshold_gain = _checks.number("ClampedLIF", "threshold_gain", threshold_gain)
        self.threshold_drift = _checks.number("ClampedLIF", "threshold_drift", threshold_drift)
        bound = 1 / math.sqrt(self.units)
        self.threshold = nn.Parameter(torch.empty(self.units).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._after(self.time_steps, x)

    @torch.no_grad()
    def spike_train(self, x: torch.Tensor) -> torch.Tensor:
        """Which neurons fire in which time step, (T, N, units, ...), for pictures and statistics."""
        counts = [torch.zeros_like(x), *(self._after(t, x)[0] for t in range(1, self.time_steps + 1))]
        return torch.stack(counts).diff(dim=0)

    def _after(self, time_steps: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return SF.clamped_lif(
            x, self.threshold, time_steps=time_steps, dt=self.dt, leak=self.leak, threshold_gain=self.threshold_gain,
            threshold_drift=self.threshold_drift,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return call_arguments(self, ClampedLIF.__init__)
