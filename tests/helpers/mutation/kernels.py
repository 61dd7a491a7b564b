"""Wrong changes to what is compiled: the arithmetic, the CPU kernels, the CUDA kernels (on the host), the bindings."""

from mutation.mutant import Mutant

MUTANTS = ()
