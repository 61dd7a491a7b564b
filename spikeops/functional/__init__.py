"""Drop-in torch ops for spiking neural networks: fused over all time steps, differentiable, compilable.

T time steps first, then any shape of neurons. float32, float64, float16 and bfloat16 data; the state of 16-bit data is float32.
"""

from spikeops.functional.alif import alif
from spikeops.functional.batch_norm_lif import batch_norm_lif
from spikeops.functional.clamped import clamped_lif
from spikeops.functional.conv import spike_conv2d
from spikeops.functional.convex import convex_snn_trial
from spikeops.functional.count import spike_count
from spikeops.functional.cuba_lif import cuba_lif
from spikeops.functional.encode import latency_encode, poisson_encode
from spikeops.functional.feedback import feedback_step_, ternary_step_
from spikeops.functional.lif import lif, lif_rate
from spikeops.functional.linear import spike_linear
from spikeops.functional.local import local_gradient_in_time, local_learning_step_
from spikeops.functional.pack import pack_spikes, unpack_spikes
from spikeops.functional.pool import avg_pool2d
from spikeops.functional.readout import leaky_readout
from spikeops.functional.recurrent import recurrent_lif
from spikeops.functional.synapse import synaptic_filter
from spikeops.functional.tssl_bp import tssl_bp

__all__ = [
    "alif", "avg_pool2d", "batch_norm_lif", "clamped_lif", "convex_snn_trial", "cuba_lif",
    "feedback_step_", "latency_encode", "leaky_readout", "lif", "lif_rate", "local_gradient_in_time",
    "local_learning_step_", "pack_spikes", "poisson_encode", "recurrent_lif", "spike_conv2d", "spike_count", "spike_linear",
    "synaptic_filter", "ternary_step_", "tssl_bp", "unpack_spikes",
]  # fmt: skip
