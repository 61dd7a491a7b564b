"""Wrong changes to the sources, one at a time, that the tests have to notice: tests/mutants runs them."""
