"""What a call costs the host beside the kernels: Python, PyTorch's dispatcher and autograd, by neurons so few that kernels take no time.

For every kind of neurons the forward and backward passes of 4 time steps of one neuron, in turns, with what no op of any package gets
around: an autograd function that does nothing, and torch.autograd.grad's own Python. `--beside FOLDER` compares with the package in another
folder, in turns too.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, CALLS = 40, 25


def cases():
    """Name -> what is called once."""
    import torch

    import spikeops.functional as SF
    import spikeops.nn as snn
    from spikeops import surrogate

    x = torch.full((4, 1), 0.7, requires_grad=True)
    upstream, decay, window = torch.ones(4, 1), torch.tensor(0.9), surrogate.Rectangle(1.0)

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return upstream.view_as(upstream)

        @staticmethod
        def backward(ctx, gradient):
            ctx.saved_tensors
            return gradient

    def both(function):
        return lambda: torch.autograd.grad(function(x), x, upstream)

    calls = {
        "an autograd function that does nothing": both(Nothing.apply),
        "lif, forward without gradient": lambda: SF.lif(upstream),
        "lif": both(lambda x: SF.lif(x)[0]),
        "lif, five options": both(lambda x: SF.lif(x, 0.9, 0.8, reset="to", strict=True, detach_reset=True)[0]),
        "lif, a decay tensor": both(lambda x: SF.lif(x, decay)[0]),
        "lif, a threshold tensor": both(lambda x: SF.lif(x, threshold=decay)[0]),
        "lif, save='bits'": both(lambda x: SF.lif(x, surrogate=window, save="bits")[0]),
        "LIF, the module": both(snn.LIF(0.9)),
        "lif_rate": lambda: torch.autograd.grad(SF.lif_rate(x), x, upstream[0]),
        "alif": both(lambda x: SF.alif(x)[0]),
        "cuba_lif": both(lambda x: SF.cuba_lif(x)[0]),
        "leaky_readout": both(lambda x: SF.leaky_readout(x)[0]),
        "tssl_bp": both(SF.tssl_bp),
        "synaptic_filter": both(lambda x: SF.synaptic_filter(x, 3.0)),
    }  # fmt: skip
    return calls


def serve() -> None:
    """Times all cases once for each line that comes in, and answers with a line: the microseconds of a call."""
    import torch

    torch.set_num_threads(1)
    calls = cases()
    for call in calls.values():
        for _ in range(3 * CALLS):
            call()
    gc.disable()
    for _ in sys.stdin:
        found = {}
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                call()
            found[name] = 1e6 * (time.perf_counter() - started) / CALLS
        print(json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--beside", type=Path, help="a folder with another spikeops, libraries included")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    folders = {"here": None} if options.beside is None else {"beside": options.beside, "here": None}
    servers = {name: _start(folder) for name, folder in folders.items()}
    rounds = {name: [] for name in servers}
    for _ in range(options.rounds):
        for name, server in servers.items():
            rounds[name].append(_ask(server))
    for server in servers.values():
        server.stdin.close()
        server.wait()
    _print(rounds)


def _start(folder: Path | None):
    environment = dict(os.environ)
    if folder is not None:
        environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _ask(server) -> dict[str, float]:
    server.stdin.write("\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise SystemExit("host_time: a process that measures has ended")
    return json.loads(answer)


def _print(rounds) -> None:
    """The least and the median of the rounds: the first is what the machine can do, the second what it did."""
    print("| microseconds, forward and backward | " + " | ".join(f"{name}, least | median" for name in rounds) + " |")
    print("| --- " * (1 + 2 * len(rounds)) + "|")
    for case in next(iter(rounds.values()))[0]:
        cells = []
        for found in rounds.values():
            times = [each[case] for each in found]
            cells += [f"{min(times):.1f}", f"{statistics.median(times):.1f}"]
        print(f"| {case} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
