"""Readout layers."""

from __future__ import annotations

import torch
from torch import nn

from spikeops import functional as SF
from spikeops.functional import _checks
from spikeops.functional._other_words import READOUT, explain_other_words
from spikeops.nn._decays import decay_parameter, given_decay
from spikeops.nn._repr import call_arguments

__all__ = ["LeakyReadout"]


class LeakyReadout(nn.Module):
    """Membranes that integrate and never fire: :func:`spikeops.functional.leaky_readout` as a module.

    Args:
        decay, input_scale, v_rest: as in :func:`spikeops.functional.leaky_readout`.
        learn_decay: learn the decay, as the sigmoid of the parameter ``decay_logit``; its initial value then lies between 0 and 1.
        shape: of the parameter, broadcastable to one time step of the input: () for one decay, (C,) for one per class.
        return_state: return ``(trace, v_last)`` instead of the trace, to go on with the next piece of a sequence.

    Shapes:
        x (T, ...), v_init (...) or None -> trace (T, ...), v_last (...). With ``time_steps=T``, x (...) is the same in all of them.

    Raises:
        TypeError, ValueError: an option that cannot be, an initial decay outside (0, 1).

    Example:
        >>> logits = snn.LeakyReadout(0.95)(torch.rand(100, 32, 20)).mean(0)
    """

    @explain_other_words(READOUT)
    def __init__(self, decay: float | torch.Tensor = 0.9, *, learn_decay: bool = False, shape: tuple[int, ...] = (),
                 input_scale: float = 1.0, v_rest: float = 0.0, return_state: bool = False):  # fmt: skip
        super().__init__()
        _checks.flag("LeakyReadout", "learn_decay", learn_decay)
        _checks.flag("LeakyReadout", "return_state", return_state)
        self.learn_decay, self.return_state = learn_decay, return_state
        self.input_scale = _checks.number("LeakyReadout", "input_scale", input_scale)
        self.v_rest = _checks.number("LeakyReadout", "v_rest", v_rest)
        if learn_decay:
            self.initial_decay, self.decay_logit = decay_parameter("LeakyReadout", "decay", decay, shape)
        else:
            self.initial_decay = given_decay("LeakyReadout", "decay", decay)

    @property
    def decay(self) -> float | torch.Tensor:
        return torch.sigmoid(self.decay_logit) if self.learn_decay else self.initial_decay

    def forward(
        self, x: torch.Tensor, v_init: torch.Tensor | None = None, time_steps: int | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        outputs = SF.leaky_readout(
            x, self.decay, input_scale=self.input_scale, v_rest=self.v_rest, v_init=v_init, time_steps=time_steps
        )  # fmt: skip
        return outputs if self.return_state else outputs[0]

    def extra_repr(self) -> str:
        shape = tuple(self.decay_logit.shape) if self.learn_decay else ()
        return call_arguments(self, LeakyReadout.__init__, decay=self.initial_decay, shape=shape)
