"""Batch norm with spiking neurons behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules.batchnorm import _NormBase

from spikeops.functional import _checks
from spikeops.functional._batch_norm import NormOptions, checked_momentum, checked_norm
from spikeops.functional._lif_options import LIFOptions, Reset, checked_options
from spikeops.functional._other_words import NEURON, explain_other_words
from spikeops.functional.batch_norm_lif import run_batch_norm_lif
from spikeops.nn._repr import call_arguments
from spikeops.surrogate import ATan, Surrogate

__all__ = ["BatchNormLIF"]


class BatchNormLIF(_NormBase):
    """Batch norm over time steps, samples and places, and LIF neurons behind it, in one op:
    :func:`spikeops.functional.batch_norm_lif` as a module.

    It is ``nn.Sequential(snn.TimeDistributed(nn.BatchNorm2d(num_features)), snn.LIF(decay))``, or BatchNorm1d, with the parameters and
    buffers of the former by the same names, so that the state dict of a batch norm fits. :func:`spikeops.fuse` puts it into a model.

    Args:
        num_features: channels C.
        decay, threshold: of the neurons, as in :class:`LIF`; numbers.
        eps, affine, track_running_stats: as in :class:`torch.nn.BatchNorm2d`.
        momentum: as there; None for the cumulative average.
        tdbn_alpha: threshold-dependent batch norm (tdBN: Zheng et al., AAAI 2021), as in the function.
        synchronized, process_group: statistics of all processes in training, as torch.nn.SyncBatchNorm.
        input_scale, reset, ...: of the neurons.
        return_state: return ``(spikes, v_last)`` instead of the spikes.

    What looks for torch's own batch norms does not see this module: ``torch.nn.SyncBatchNorm.convert_sync_batchnorm`` (use
    ``synchronized``) and ``torch.optim.swa_utils.update_bn``.

    Attributes:
        weight, bias: (C) parameters, or None. running_mean, running_var: (C) buffers, and num_batches_tracked; or None. decay, threshold,
            eps, momentum, tdbn_alpha, synchronized, return_state: as given; they can be set. options: those of the neurons.

    Shapes:
        x (T, B, C, ...), v_init (B, C, ...) or None -> spikes (T, B, C, ...), v_last (B, C, ...).

    Raises:
        TypeError, ValueError: an option that cannot be; in training, x with one value per channel.

    Example:
        >>> block = torch.nn.Sequential(snn.TimeDistributed(torch.nn.Conv2d(3, 8, 3)), snn.BatchNormLIF(8, decay=0.5))
        >>> block(torch.rand(4, 2, 3, 16, 16)).shape
        torch.Size([4, 2, 8, 14, 14])
    """

    @explain_other_words(NEURON)
    def __init__(self, num_features: int, decay: float = 0.5, threshold: float = 1.0, *, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, tdbn_alpha: float | None = None, synchronized: bool = False,
                 process_group: Any = None, input_scale: float = 1.0, reset: Reset = "subtract", reset_amount: float | None = None,
                 v_reset: float = 0.0, v_rest: float = 0.0, strict: bool = False, detach_reset: bool = False,
                 surrogate: Surrogate = ATan(2.0), return_state: bool = False):  # fmt: skip
        for name, value in (("affine", affine), ("track_running_stats", track_running_stats), ("return_state", return_state)):
            _checks.flag("BatchNormLIF", name, value)
        weight = 0.0 if momentum is None else checked_momentum("BatchNormLIF", momentum)
        given = NormOptions(True, weight, eps, tdbn_alpha, synchronized, process_group)
        norm = checked_norm("BatchNormLIF", given)
        options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
        threshold, options = checked_options("BatchNormLIF", threshold, options)
        super().__init__(
            _checks.whole("BatchNormLIF", "num_features", num_features, 1), norm.eps, None if momentum is None else norm.momentum, affine,
            track_running_stats,
        )  # fmt: skip
        self.decay, self.threshold, self.options = _checks.decay("BatchNormLIF", "decay", decay), threshold, options
        self.tdbn_alpha, self.synchronized, self.process_group = norm.tdbn_alpha, synchronized, process_group
        self.return_state = return_state

    def forward(self, x: torch.Tensor, v_init: torch.Tensor | None = None) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        learns = self.training or self.running_mean is None
        # In training without track_running_stats, buffers that are there are left alone, as torch leaves them.
        moves = self.training and self.track_running_stats
        running = (self.running_mean, self.running_var) if moves or not learns else (None, None)
        counts = moves and self.num_batches_tracked is not None
        momentum: float | torch.Tensor = 0.0 if self.momentum is None else self.momentum
        if counts and self.momentum is None:  # the cumulative average
            momentum = 1.0 / (self.num_batches_tracked.double() + 1.0)
        norm = NormOptions(learns, momentum, self.eps, self.tdbn_alpha, self.synchronized if self.training else False, self.process_group)
        outputs = run_batch_norm_lif(x, running, (self.weight, self.bias), self.decay, self.threshold, norm, self.options, v_init)
        if counts:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
        return outputs if self.return_state else outputs[0]

    def extra_repr(self) -> str:
        return call_arguments(self, BatchNormLIF.__init__, **self.options._asdict())
