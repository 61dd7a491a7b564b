"""Who does the work: our kernels, the plain loop, the compiled loop, the published formulation, and a copy as the ceiling."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

import spikeops

from measuring.results import first_line
from ops.registry import BACKWARD, FORWARD, FORWARD_GRAD, FULL, Case, compile_is_worth_it

FUSED = "spikeops"
TRITON = "spikeops_triton"
EAGER = "eager"
COMPILED = "compiled"
PUBLISHED = "published"
COPY = "copy"  # into a tensor that exists: the ceiling
CLONE = "clone"  # into fresh memory, as ops do that return a new tensor

PROVIDERS = (FUSED, TRITON, EAGER, COMPILED, PUBLISHED, COPY, CLONE)
CEILINGS = (COPY, CLONE)
BACKENDS = {FUSED: "native", TRITON: "triton"}


class LeftOut(Exception):
    """Why something is not measured."""


@dataclass
class Call:
    """One thing to time, with gradient mode and backend as `select` sets them."""

    provider: str
    mode: str
    run: Callable[[], object]
    minimum_bytes: int
    first_seconds: float = 0.0  # of the first call, which compiles where there is something to compile
    seconds: float = 0.0  # of a later one, roughly

    def select(self):
        """Context in which to time it."""
        spikeops.set_backend(BACKENDS.get(self.provider, "auto"))
        return torch.set_grad_enabled(self.mode != FORWARD)


class Bench:
    """The calls of one case on one device. Inputs are made once and shared."""

    def __init__(self, case: Case, device: str):
        self.case, self.device = case, device
        torch.manual_seed(20)
        self.input = case.op.make_input(case.T, case.N, case.dtype, device)
        state = case.op.make_state(self.input)
        with torch.no_grad(), spikeops.backend("auto"):
            output = case.op.fused(self.input, case.T, *state)
        self.state_bytes = sum(tensor.nbytes for tensor in state[:-1])
        self.output_bytes = output.nbytes
        self.grad = torch.randn_like(output) if case.op.has_gradient else None
        self._functions: dict[str, Callable[[Tensor], Tensor]] = {}
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    def call(self, provider: str, mode: str) -> Call:
        """Builds the call and makes it once.

        Raises:
            LeftOut: it cannot be measured here.
        """
        try:
            return self._call(provider, mode)
        except torch.OutOfMemoryError:
            raise LeftOut("out of device memory") from None
        except Exception as error:
            if provider != COMPILED:
                raise
            # It needs a C++ compiler or Triton, and has its own opinion of what it can compile.
            raise LeftOut(f"torch.compile failed: {first_line(error)}") from None

    def _call(self, provider, mode):
        case = self.case
        moved = self.input.nbytes + self.state_bytes, self.output_bytes + self.state_bytes
        need = case.op.minimum_bytes(mode, *moved, case.op.keeps(case.T, case.N))
        if provider in CEILINGS:
            run = self._copy(provider, need)
        else:
            function = self.function(provider)
            spikeops.set_backend(BACKENDS.get(provider, "auto"))
            run = _in_mode(function, self._leaf(provider), self._upstream(provider), mode)
        call = Call(provider, mode, run, need)
        with call.select():
            call.first_seconds = call.seconds = self._seconds(run)
            if call.first_seconds < 1 or provider == COMPILED:
                call.seconds = self._seconds(run)
        return call

    def _seconds(self, run) -> float:
        started = time.perf_counter()
        run()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def function(self, provider: str) -> Callable[[Tensor], Tensor]:
        """input -> output by a provider other than the copies."""
        if provider not in self._functions:
            self._functions[provider] = self._make_function(provider)
        return self._functions[provider]

    def _make_function(self, provider):
        op, T = self.case.op, self.case.T
        state = op.make_state(self.input)  # of its own: providers neither disturb nor help each other
        if provider == EAGER:
            return lambda x: op.eager(x, T, *state)
        if provider == COMPILED:
            _start_compiler(self.device)
            torch._dynamo.reset()
            return torch.compile(lambda x: op.eager(x, T, *state), fullgraph=True, dynamic=False)
        if provider == PUBLISHED:
            return op.published
        if reason := unavailable(provider, self.device):
            raise LeftOut(reason)
        return lambda x: op.fused(x, T, *state)

    def _leaf(self, provider):
        x = time_last(self.input) if provider == PUBLISHED else self.input
        return x.detach().requires_grad_(self.case.op.has_gradient)

    def _upstream(self, provider):
        return time_last(self.grad) if provider == PUBLISHED else self.grad

    def _copy(self, provider, total_bytes):
        half = total_bytes // 2
        if half not in self._copies:
            source = torch.empty(half, dtype=torch.uint8, device=self.device).random_()
            self._copies[half] = source, torch.empty_like(source)
        source, target = self._copies[half]

        def copy():
            target.copy_(source)

        def clone():
            source.clone()

        return copy if provider == COPY else clone


@cache
def _start_compiler(device):
    """Pays what torch.compile costs once per process, lest the first op be charged with it."""
    torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))


def _in_mode(function, x, grad, mode):
    """What is timed, results dropped: giving memory back is part of a call."""

    def forward():
        function(x)

    def backward():
        torch.autograd.grad(output, x, grad, retain_graph=True)

    def full():
        torch.autograd.grad(function(x), x, grad)

    if mode == BACKWARD:
        with torch.enable_grad():
            output = function(x)
    return {FORWARD: forward, FORWARD_GRAD: forward, BACKWARD: backward, FULL: full}[mode]


def time_last(x: Tensor) -> Tensor:
    """(T, N) as the published code lays it out: (N, 1, 1, 1, T)."""
    return x.t().contiguous()[:, None, None, None]


def providers_of(case: Case, device: str) -> list[str]:
    """Who takes part."""
    absent = {
        TRITON: device == "cpu",  # there it has only an interpreter, for tests
        COMPILED: not compile_is_worth_it(case, device),
        PUBLISHED: case.op.published is None,
    }
    return [provider for provider in PROVIDERS if not absent.get(provider)]


def unavailable(provider: str, device: str) -> str:
    """Why our kernels cannot run here; empty if they can, and for the others."""
    if provider not in BACKENDS:
        return ""
    return spikeops.backends()["triton" if provider == TRITON else device]["reason"]


def saved_bytes(bench: Bench, provider: str) -> int:
    """Bytes that the forward pass keeps for the backward pass, each tensor's memory counted once."""
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    function = bench.function(provider)
    spikeops.set_backend(BACKENDS.get(provider, "auto"))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = function(bench._leaf(provider))
    del output
    return sum(kept.values())
