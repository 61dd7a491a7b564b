"""Layer-parallel training: while a layer learns from one batch, the layer above learns from the batch before it.

Layers that learn on their own send no gradients back, so a stack of them can be cut into stages that work at the same time, each
in a process of its own. A layer above gets what the layer below computed while it learned from the batch, so every layer sees the
same batches in the same order as without a pipeline, only later: the weights come out the same. At the end of an epoch the stages
run empty, and the first one, which is the ordinary trainer, collects the weights, tests and writes the checkpoints.
"""

from spiketrain.training.pipeline.driver import check, opened

__all__ = ["check", "opened"]
