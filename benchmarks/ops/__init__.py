"""The ops that are measured: the `registry` of their cases, the `providers` that take part and whether they may (`gate`), in which
order (`schedule`); the loops that others would write (`baselines`), and TSSL-BP as published (`published_tssl_bp`)."""
