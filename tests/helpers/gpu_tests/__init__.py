"""Helpers of the tests that need a CUDA device."""
