"""Drills of runs: configurations and checkpoints that are damaged at random, runs that are killed at random."""
