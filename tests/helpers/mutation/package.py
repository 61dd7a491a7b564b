"""Wrong changes to the package's own Python: Triton kernels, functions, modules."""

from mutation.mutant import Mutant

MUTANTS = ()
