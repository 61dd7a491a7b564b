"""Drives the module `spikeops_testing`: the CUDA kernels' source on the CPU. numpy only, so that it also runs under sanitizers."""
