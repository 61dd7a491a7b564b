"""Trials of the convex-optimisation network have no Triton kernel."""


def convex_snn_trial(x, *_):
    """Says so. Each step needs the largest of all neurons of a trial: in Triton one program would hold them all, compiled anew
    for each size, and learning would order its own writes to memory, which Triton leaves open."""
    raise RuntimeError(
        f"convex_snn_trial: there is no Triton kernel for it, got tensors on {x.device}. Build the native CUDA library "
        "(SPIKEOPS_CUDA=on pip install .), move the tensors to the CPU, or run the slow reference: "
        "spikeops.set_backend('reference')."
    )
