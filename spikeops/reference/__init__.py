"""Every op again in a few lines of plain PyTorch: the definition that all backends are tested against.

Same signatures as :mod:`spikeops.functional`, no argument checks, slow. ``spikeops.set_backend("reference")`` runs it.
"""

from spikeops.reference.clamped import clamped_lif
from spikeops.reference.conv import spike_conv2d
from spikeops.reference.convex import COMMANDS, convex_noise, convex_snn_trial
from spikeops.reference.count import pack_spikes, spike_count, unpack_spikes
from spikeops.reference.encode import latency_encode, poisson_encode, poisson_encode_from_seed
from spikeops.reference.feedback import feedback_step_, ternary_step_
from spikeops.reference.lif import lif, lif_rate
from spikeops.reference.local import local_gradient_in_time, local_learning_step_
from spikeops.reference.synapse import synaptic_filter
from spikeops.reference.tssl_bp import tssl_bp

__all__ = [
    "COMMANDS",
    "clamped_lif", "convex_noise", "convex_snn_trial",
    "feedback_step_", "latency_encode", "lif", "lif_rate", "local_gradient_in_time",
    "local_learning_step_", "pack_spikes", "poisson_encode", "poisson_encode_from_seed", "spike_conv2d",
    "spike_count", "synaptic_filter", "ternary_step_", "tssl_bp", "unpack_spikes",
]  # fmt: skip
