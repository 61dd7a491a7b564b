"""Several seeds of presets, each an ordinary run directory: what is there, what is to do, and the processes that do it."""
