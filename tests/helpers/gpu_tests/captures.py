"""What makes the capture of a CUDA graph fail."""

import torch


def refuse():
    torch.cuda.current_stream().synchronize()


def run_out_of_memory():
    torch.empty(1 << 50, dtype=torch.uint8, device="cuda")


# With what the error says.
FAILURES = {
    refuse: "CUDA error: operation not permitted when stream is capturing",
    run_out_of_memory: "OutOfMemoryError: CUDA out of memory",
}
