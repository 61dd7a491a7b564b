"""Whole training steps: what they have in common (`training_step`), those of each method with their opponents in plain PyTorch, and
all of them by name (`catalogue`)."""
