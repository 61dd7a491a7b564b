"""The table of docs/transforms.md, from the calls that the tests make."""

from transform_tests.calls import CALLS, NONE, REFUSED, WORKS, Call, op_of

HEADER = ("op or module", "gradient, and its gradient", "`torch.func.grad`, `vjp`, `jacrev`", "`vmap`, `vmap(grad)`", "forward mode",
          "`torch.compile`", "`torch.export`", "`torch.jit.trace`")  # fmt: skip
_WORDS = {WORKS: "yes", NONE: "constant", REFUSED: "refused"}


def _cells(name: str, call: Call) -> tuple[str, ...]:
    twice = "once; refused" if name == "FeedbackRing" else "no gradient" if name in ("convex_snn_trial", "ConvexSNN") else _WORDS[call.gradient]
    compiled = "yes" if call.compile == WORKS else "left out of graphs"
    # The loss of a block has no batch of its own: vmap over blocks is torch's affair.
    batched = "yes" if call.vmap in (WORKS, NONE) else "refused"
    return twice, _WORDS[call.gradient], batched, _WORDS[call.forward], compiled, _WORDS[call.export], _WORDS[call.trace]


def _rows(calls: dict[str, Call]):
    """One for each op or module; more where its calls differ."""
    for op in dict.fromkeys(map(op_of, calls)):
        variants: dict[tuple[str, ...], str] = {}
        for name, call in calls.items():
            if op_of(name) == op:
                variants.setdefault(_cells(op, call), name.partition("/")[2])
        for cells, variant in variants.items():
            yield f"`{op}` ({variant})" if len(variants) > 1 and variant else f"`{op}`", *cells


def table() -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEADER, ("---",) * len(HEADER), *_rows(CALLS)))
