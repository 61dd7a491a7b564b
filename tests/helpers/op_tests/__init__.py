"""Helpers of the op tests. On sys.path by `pythonpath` in pyproject.toml."""
