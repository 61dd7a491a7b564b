"""All wrong changes there are."""

from mutation import kernels, package, pipeline

MUTANTS = (*kernels.MUTANTS, *package.MUTANTS, *pipeline.MUTANTS)
