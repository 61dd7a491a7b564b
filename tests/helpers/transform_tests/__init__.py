"""Public calls of ops and modules, and what each transform makes of them."""
