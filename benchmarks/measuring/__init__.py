"""How things are measured and written down: `timers`, `memory`, the table of `results`, the `outcomes` of tests."""
