"""Trained networks without their data sets and without the trainer: loaded, asked for predictions, exported."""
