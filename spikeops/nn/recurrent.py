"""Recurrent spiking neurons."""

from __future__ import annotations

import math

import torch
from torch import nn

from spikeops.functional import _checks
from spikeops.functional._lif_options import LIFOptions, Reset, checked_options
from spikeops.functional._other_words import RECURRENT, explain_other_words
from spikeops.functional.cuba_lif import CubaOptions, CubaTiming, CurrentOrder, checked_cuba
from spikeops.functional.recurrent import Adaptation, RecurrentState, run_recurrent_lif
from spikeops.nn._decays import decay_parameter, given_decay
from spikeops.nn._repr import call_arguments
from spikeops.surrogate import ATan, Surrogate

__all__ = ["RecurrentLIF"]


class RecurrentLIF(nn.Module):
    """Layers of recurrent spiking neurons with their weights: :func:`spikeops.functional.recurrent_lif` as a module.

    Args:
        features: N, how many neurons a layer has.
        decay, threshold, ...: as in :func:`spikeops.functional.recurrent_lif`. Of threshold and current_scale, a parameter is one of the
            module, and any other tensor is used as it is.
        all_to_all: connect each neuron with each; else each with itself alone.
        bias: learn a bias.
        learn_decays: learn the decays of the membrane and, where there are a synapse (current_decay above 0) and an adaptation (beta not
            0), theirs, as sigmoids of the parameters ``decay_logit``, ``current_decay_logit`` and ``adaptation_decay_logit`` (N,); their
            initial values then lie between 0 and 1.
        return_state: return ``(spikes, v_last, i_last, a_last)`` instead of the spikes.

    Attributes:
        weight: (N, N), or (N,) one to one; at first uniform between ``-1 / sqrt(N)`` and ``1 / sqrt(N)``, as `torch.nn.Linear`; bias:
            (N,), likewise, or None.
        threshold, current_scale, order, reset_timing, beta, return_state: as given; they can be set. options: the other arguments,
            together: a named tuple.

    Shapes:
        x (T, ..., N); v_init, i_init, a_init, s_init (..., N) or None -> spikes (T, ..., N), v_last, i_last and a_last (..., N).

    Raises:
        TypeError, ValueError: an option that cannot be, an initial decay outside (0, 1).

    Example:
        >>> lsnn = snn.RecurrentLIF(100, 0.95, adaptation_decay=0.99, beta=0.1)
        >>> spikes = lsnn(torch.rand(50, 32, 100))
    """

    @explain_other_words(RECURRENT)
    def __init__(self, features: int, decay: float | torch.Tensor = 0.5, threshold: float | torch.Tensor = 1.0, *,
                 all_to_all: bool = True, bias: bool = False, current_decay: float | torch.Tensor = 0.0,
                 order: CurrentOrder = "decay_input_membrane", current_scale: float | torch.Tensor = 1.0,
                 adaptation_decay: float | torch.Tensor = 0.9, beta: float = 0.0, learn_decays: bool = False, input_scale: float = 1.0,
                 reset: Reset = "subtract", reset_amount: float | None = None, v_reset: float = 0.0, v_rest: float = 0.0,
                 reset_timing: CubaTiming = "now", strict: bool = False, detach_reset: bool = False, surrogate: Surrogate = ATan(2.0),
                 return_state: bool = False):  # fmt: skip
        super().__init__()
        for name, value in (("all_to_all", all_to_all), ("bias", bias), ("learn_decays", learn_decays), ("return_state", return_state)):
            _checks.flag("RecurrentLIF", name, value)
        self.features = _checks.whole("RecurrentLIF", "features", features, 1)
        if isinstance(threshold, torch.Tensor):
            _checks.floating("RecurrentLIF", "threshold", threshold)
            self.threshold: float | torch.Tensor = threshold
        else:
            self.threshold = _checks.number("RecurrentLIF", "threshold", threshold)
        if isinstance(current_scale, torch.Tensor):
            _checks.floating("RecurrentLIF", "current_scale", current_scale)
        self.order, self.current_scale, self.reset_timing = checked_cuba("RecurrentLIF", CubaOptions(order, current_scale, reset_timing))
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        _, self.options = checked_options("RecurrentLIF", 1.0, options)
        self.beta = _checks.number("RecurrentLIF", "beta", beta)
        self.all_to_all, self.learn_decays, self.return_state = all_to_all, learn_decays, return_state

        self.weight = nn.Parameter(torch.empty((self.features, self.features) if all_to_all else self.features))
        self.bias = nn.Parameter(torch.empty(self.features)) if bias else None
        self.initial_decay, self.decay_logit = self._decay("decay", decay, learn_decays)
        has_synapse = isinstance(current_decay, torch.Tensor) or current_decay != 0
        self.initial_current_decay, self.current_decay_logit = self._decay("current_decay", current_decay, learn_decays and has_synapse)
        self.initial_adaptation_decay, self.adaptation_decay_logit = self._decay(
            "adaptation_decay", adaptation_decay, learn_decays and beta != 0
        )
        self.reset_parameters()

    def _decay(self, name: str, decay, learn: bool) -> tuple[float | torch.Tensor, nn.Parameter | None]:
        if learn:
            return decay_parameter("RecurrentLIF", name, decay, (self.features,))
        return given_decay("RecurrentLIF", name, decay), None

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        bound = 1 / math.sqrt(self.features)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def decay(self) -> float | torch.Tensor:
        return self.initial_decay if self.decay_logit is None else torch.sigmoid(self.decay_logit)

    @property
    def current_decay(self) -> float | torch.Tensor:
        return self.initial_current_decay if self.current_decay_logit is None else torch.sigmoid(self.current_decay_logit)

    @property
    def adaptation_decay(self) -> float | torch.Tensor:
        return self.initial_adaptation_decay if self.adaptation_decay_logit is None else torch.sigmoid(self.adaptation_decay_logit)

    def forward(
        self, x: torch.Tensor, v_init: torch.Tensor | None = None, i_init: torch.Tensor | None = None,
        a_init: torch.Tensor | None = None, s_init: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        outputs = run_recurrent_lif(
            x, self.weight, self.bias, self.decay, self.threshold, self.current_decay,
            CubaOptions(self.order, self.current_scale, self.reset_timing), Adaptation(self.adaptation_decay, self.beta), self.options,
            RecurrentState(v_init, i_init, a_init, s_init),
        )  # fmt: skip
        return outputs if self.return_state else outputs[0]

    def extra_repr(self) -> str:
        return call_arguments(
            self, RecurrentLIF.__init__, decay=self.initial_decay, current_decay=self.initial_current_decay,
            adaptation_decay=self.initial_adaptation_decay, bias=self.bias is not None, **self.options._asdict(),
        )  # fmt: skip
