"""Drives the module `spikeops_testing`: the ops on the CUDA kernels' source, compiled for the host, and on the CPU kernels."""
