"""How things are measured and written down: `timers`, the table of `results`, the `outcomes` of tests."""
