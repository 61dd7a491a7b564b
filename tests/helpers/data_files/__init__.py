"""Small data sets in the true formats of the large ones, and ways to damage them."""
