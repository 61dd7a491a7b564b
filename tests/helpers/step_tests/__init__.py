"""Training steps worked out by hand, and runs in several processes to compare with them."""
