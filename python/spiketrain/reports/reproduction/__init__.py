"""Several seeds of a preset beside the published figures: what they came to, its tables and picture, and progress while they run."""
