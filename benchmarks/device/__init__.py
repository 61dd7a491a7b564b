"""The proof on a GPU: `proof` runs commands within limits, `gpu_steps` are its steps,
`planted_kernel` is what a sanitizer must find."""
