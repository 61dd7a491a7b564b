"""Current-based spiking neurons: a synapse and a membrane each."""

from __future__ import annotations

import torch
from torch import nn

from spikeops.functional import _checks
from spikeops.functional._lif_options import LIFOptions, Reset, checked_options
from spikeops.functional._other_words import CUBA, explain_other_words
from spikeops.functional.cuba_lif import CubaOptions, CubaTiming, CurrentOrder, checked_cuba, run_cuba_lif
from spikeops.nn._decays import decay_parameter, given_decay
from spikeops.nn._repr import call_arguments
from spikeops.surrogate import ATan, Surrogate

__all__ = ["CubaLIF"]


class CubaLIF(nn.Module):
    """Current-based leaky integrate-and-fire neurons: :func:`spikeops.functional.cuba_lif` as a module.

    Args:
        decay, threshold, ...: as in :func:`spikeops.functional.cuba_lif`. Of threshold and current_scale, a parameter is one of the
            module, and any other tensor is used as it is.
        learn_decays: learn both decays, as sigmoids of the parameters ``decay_logit`` and ``current_decay_logit``; their initial
            values then lie between 0 and 1.
        shape: of these parameters, broadcastable to one time step of the input: () for one decay, (C, 1, 1) for one per channel.
        return_state: return ``(spikes, v_last, i_last)`` instead of the spikes, to go on with the next piece of a sequence.

    Attributes:
        threshold, current_scale, order, reset_timing, return_state: as given; they can be set. options: the other arguments, together:
            a named tuple.

    Shapes:
        x (T, ...), v_init and i_init (...) or None -> spikes (T, ...), v_last and i_last (...). With ``time_steps=T``, x (...) is the
        same in all of them.

    Raises:
        TypeError, ValueError: an option that cannot be, an initial decay outside (0, 1).

    Example:
        >>> spikes = snn.CubaLIF(0.9, current_decay=0.8, learn_decays=True, shape=(100,))(torch.rand(8, 32, 100))
    """

    @explain_other_words(CUBA)
    def __init__(self, decay: float | torch.Tensor = 0.5, threshold: float | torch.Tensor = 1.0, *,
                 current_decay: float | torch.Tensor = 0.5, order: CurrentOrder = "decay_input_membrane",
                 current_scale: float | torch.Tensor = 1.0, learn_decays: bool = False, shape: tuple[int, ...] = (),
                 input_scale: float = 1.0, reset: Reset = "subtract", reset_amount: float | None = None, v_reset: float = 0.0,
                 v_rest: float = 0.0, reset_timing: CubaTiming = "now", strict: bool = False, detach_reset: bool = False,
                 surrogate: Surrogate = ATan(2.0), return_state: bool = False):  # fmt: skip
        super().__init__()
        _checks.flag("CubaLIF", "learn_decays", learn_decays)
        _checks.flag("CubaLIF", "return_state", return_state)
        if isinstance(threshold, torch.Tensor):
            _checks.floating("CubaLIF", "threshold", threshold)
            self.threshold: float | torch.Tensor = threshold
        else:
            self.threshold = _checks.number("CubaLIF", "threshold", threshold)
        if isinstance(current_scale, torch.Tensor):
            _checks.floating("CubaLIF", "current_scale", current_scale)
        order, self.current_scale, reset_timing = checked_cuba("CubaLIF", CubaOptions(order, current_scale, reset_timing))
        self.order, self.reset_timing = order, reset_timing
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        _, self.options = checked_options("CubaLIF", 1.0, options)
        self.learn_decays, self.return_state = learn_decays, return_state
        if learn_decays:
            self.initial_decay, self.decay_logit = decay_parameter("CubaLIF", "decay", decay, shape)
            self.initial_current_decay, self.current_decay_logit = decay_parameter("CubaLIF", "current_decay", current_decay, shape)
        else:
            self.initial_decay = given_decay("CubaLIF", "decay", decay)
            self.initial_current_decay = given_decay("CubaLIF", "current_decay", current_decay)

    @property
    def decay(self) -> float | torch.Tensor:
        return torch.sigmoid(self.decay_logit) if self.learn_decays else self.initial_decay

    @property
    def current_decay(self) -> float | torch.Tensor:
        return torch.sigmoid(self.current_decay_logit) if self.learn_decays else self.initial_current_decay

    def forward(
        self, x: torch.Tensor, v_init: torch.Tensor | None = None, i_init: torch.Tensor | None = None, time_steps: int | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cuba = CubaOptions(self.order, self.current_scale, self.reset_timing)
        outputs = run_cuba_lif(x, self.decay, self.threshold, self.current_decay, cuba, self.options, v_init, i_init, time_steps)
        return outputs if self.return_state else outputs[0]

    def extra_repr(self) -> str:
        return call_arguments(
            self, CubaLIF.__init__, decay=self.initial_decay, current_decay=self.initial_current_decay,
            shape=tuple(self.decay_logit.shape) if self.learn_decays else (), **self.options._asdict(),
        )  # fmt: skip
