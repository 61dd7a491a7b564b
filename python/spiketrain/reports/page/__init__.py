"""``spiketrain report``: runs on one page of HTML that needs no other file and no network."""
