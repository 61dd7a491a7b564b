"""The ops in Triton: for GPUs that the native CUDA library was not built for, and a second opinion on its numbers.

Every function takes the positional arguments of its schema in csrc/ops.cpp, already checked, and returns what the schema says.
The arithmetic mirrors kernels/math operation by operation, so that float32 spikes equal the native ones bit for bit.
"""

from spikeops.triton.clamped import clamped_lif_backward, clamped_lif_forward
from spikeops.triton.convex import convex_snn_trial
from spikeops.triton.count import spike_count
from spikeops.triton.encode import latency_encode, poisson_encode
from spikeops.triton.feedback import feedback_step_, ternary_step_
from spikeops.triton.lif import lif_backward, lif_forward, lif_rate_backward, lif_rate_forward
from spikeops.triton.local import local_gradient_in_time, local_learning_step_
from spikeops.triton.pack import pack_spikes, unpack_spikes
from spikeops.triton.reduce import row_sum
from spikeops.triton.synapse import synaptic_filter_backward, synaptic_filter_forward
from spikeops.triton.tssl_bp import tssl_bp_backward, tssl_bp_forward

_OPS = (
    clamped_lif_backward, clamped_lif_forward, convex_snn_trial, feedback_step_, latency_encode, lif_backward, lif_forward, lif_rate_backward, lif_rate_forward,
    local_gradient_in_time, local_learning_step_, pack_spikes,
    poisson_encode, row_sum, spike_count, synaptic_filter_backward, synaptic_filter_forward, ternary_step_, tssl_bp_backward,
    tssl_bp_forward, unpack_spikes,
)  # fmt: skip

IMPLEMENTATIONS = {op.__name__: op for op in _OPS}
