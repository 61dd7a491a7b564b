"""Wrong changes to the package's own Python: Triton kernels, functions, modules."""

from mutation.mutant import Mutant

_INTERPRETED = "TRITON_INTERPRET=1 tests/triton/interpreted/"

MUTANTS = (
    # --- kernels/triton
    Mutant(
        "kernels/triton/lif.py", "gradients of the rate loaded beyond the last neuron",
        "tl.load(grad_rate + block.n, block.mask)", "tl.load(grad_rate + block.n)",
        f"{_INTERPRETED}guarded.py -k lif_rate",
    ),
    Mutant(
        "kernels/triton/_walk.py", "rows of a segment loaded beyond the last step",
        "mask = block.mask[:, None]\n    mask = mask & (t < T)[None, :] if IS_LAST else tl.broadcast_to(mask, block.n.shape[0], SEGMENT)\n    tiles = (tl.load",
        "mask = block.mask[:, None]\n    mask = tl.broadcast_to(mask, block.n.shape[0], SEGMENT)\n    tiles = (tl.load",
        f"{_INTERPRETED}guarded.py -k 'lif_backward or tssl_bp_backward'",
    ),
    Mutant(
        "kernels/triton/_walk.py", "the state of a segment stored after it",
        "(segment * STATES + i) * block.N + block.n, state[i], block.mask)", "(segment * STATES + STATES - 1 - i) * block.N + block.n, state[i], block.mask)",
        f"{_INTERPRETED}walk.py",
    ),
    Mutant(
        "kernels/triton/tssl_bp.py", "quiet neurons' slope of the other side",
        "quiet_slope = divide(5.0 * e, d * d)", "quiet_slope = divide(5.0 * e, d)",
        f"{_INTERPRETED}tssl_bp.py",
    ),
    Mutant(
        "kernels/triton/lif.py", "the spike of a detached reset takes part",
        "kept = tl.where(u >= neuron.fire_level, 0.0, grad_v)\n        if not OPTIONS.detach_reset:", "kept = tl.where(u >= neuron.fire_level, 0.0, grad_v)\n        if True:",
        f"{_INTERPRETED}lif.py -k every_parameter",
    ),
    # --- spikeops
    Mutant(
        "spikeops/_layout.py", "one time step of any stride copied",
        "(x.shape[0] == 1 or x.stride(0) == count(step))", "x.stride(0) == count(step)",
        "tests/ops/test_one_time_step.py",
    ),
    Mutant(
        "spikeops/functional/_reduce.py", "rows in the order of memory, not of the parameter",
        "grad.permute(kept + reduced)", "grad.permute(sorted(kept, key=lambda d: -grad.stride(d)) + reduced)",
        "tests/ops/test_lif.py tests/ops/test_reduce.py tests/ops/test_gradcheck.py",
    ),
    Mutant(
        "spikeops/functional/_reduce.py", "rounded to the parameter's precision before the sum",
        "for d in reduced])).contiguous()\n    return", "for d in reduced])).contiguous().to(parameter.dtype).to(grad.dtype)\n    return",
        "tests/ops/test_lif.py tests/ops/test_reduce.py",
    ),
    Mutant(
        "spikeops/functional/_neuron.py", "the gradient of a still input has a time axis in fake kernels",
        "return _layout.empty_step(x) if modes[-1] else _layout.empty_sequence(x), *per_neuron", "return _layout.empty_sequence(x), *per_neuron",
        "tests/ops/test_opcheck.py -k 'lif and constant'",
    ),
    Mutant(
        "spikeops/functional/_vmap.py", "a parameter's batch behind its axes",
        "arg.reshape(size, *[1] * missing, *arg.shape[1:])", "arg.reshape(size, *arg.shape[1:], *[1] * missing)",
        "tests/transforms/test_vmap.py",
    ),
    Mutant(
        "spikeops/functional/_event_conv.py", "gradients of the parts averaged",
        "parts.sum(0)[..., : self.out_channels]", "parts.mean(0)[..., : self.out_channels]",
        "tests/ops/test_event_conv.py tests/ops/test_conv.py",
    ),
    Mutant(
        "spikeops/functional/conv.py", "weights that are not finite added up over events",
        "if forward_pays and _events.is_finite(weight):", "if forward_pays:",
        "tests/ops/test_conv.py",
    ),
    Mutant(
        "spikeops/functional/linear.py", "the gradient of a weight times 0 where it is not finite",
        "if self._columns.times(grad_out, gradient.t()):", "if self._columns.times(grad_out, gradient.t()) or True:",
        "tests/ops/test_linear.py",
    ),
    # --- spikeops.nn
    Mutant(
        "spikeops/nn/feedback/spide.py", "dropout masks drawn anew for the backward pass",
        "        gates = [ring.amplitude * active for active in self.active]\n",
        "        self.forward._draw_masks(loop_order(grad))\n        gates = [ring.amplitude * active for active in self.active]\n",
        "tests/nn/test_nothing_is_drawn_on_the_way_back.py -k spide",
    ),
    Mutant(
        "spikeops/nn/feedback/ide.py", "dropout masks drawn anew for the equation",
        "            jacobian, finite, sending = TransposedJacobian.at(self.point, self.forward)\n",
        "            self.forward._draw_masks(self.forward.rates[0])\n            jacobian, finite, sending = TransposedJacobian.at(self.point, self.forward)\n",
        "tests/nn/test_nothing_is_drawn_on_the_way_back.py -k ide",
    ),
    Mutant(
        "spikeops/nn/feedback/time_loop.py", "graphs shared by neurons of any threshold",
        "    leak: float\n    threshold: float\n    reset_amount: float\n", "    leak: float\n    threshold: float = __import__('dataclasses').field(compare=False)\n    reset_amount: float\n",
        "tests/nn/feedback/test_graph_cache.py",
    ),
    Mutant(
        "spikeops/nn/feedback/nested.py", "graphs shared by tensors of any data type",
        "return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device", "return tuple(tensor.shape), tensor.stride(), tensor.device",
        "tests/nn/feedback/test_graph_cache.py",
    ),
    Mutant(
        "spikeops/nn/feedback/settings.py", "graphs outlive a change of the convolutions' precision",
        "for precision in (cudnn.conv.fp32_precision, matmul.fp32_precision)", "for precision in (matmul.fp32_precision,)",
        "tests/nn/feedback/test_shared_graphs.py -k settings",
    ),
    Mutant(
        "spikeops/nn/feedback/forward_pass.py", "spikes averaged without the leak's weights",
        "weights = leak ** torch.arange(len(x) - 1, -1, -1,", "weights = leak ** torch.arange(len(x),",
        "tests/nn/feedback/test_golden_ide.py tests/nn/feedback/test_ring.py",
    ),
    Mutant(
        "spikeops/nn/feedback/solvers.py", "the latest iterate for the best one",
        "        if norm < self.residual:\n", "        if norm == norm:\n",
        "tests/nn/feedback/test_solvers.py tests/nn/feedback/test_golden_solvers.py",
    ),
    Mutant(
        "spikeops/nn/local/block.py", "loss over the samples that are here, not those of the batch",
        "scale = 1 / ((batch_size or max(len(labels), 1)) * self.classifier.classes)", "scale = 1 / (max(len(labels), 1) * self.classifier.classes)",
        "tests/nn/test_local_block.py",
    ),
    Mutant(
        "spikeops/nn/local/online.py", "the error of the squared difference without its factor 2",
        "is_static, steps, 2 * scale)", "is_static, steps, scale)",
        "tests/nn/test_local_block.py",
    ),
    Mutant(
        "spikeops/nn/local_loss/similarity.py", "the wanted similarity of others has the sign of the same",
        "similarity.new_full((), -same / (classes - 1))", "similarity.new_full((), same / (classes - 1))",
        "tests/nn/test_local_loss.py",
    ),
    Mutant(
        "spikeops/nn/time.py", "the gain's gradient of all steps alike",
        "summed = torch.mv(flat.t(), gain)", "summed = flat.sum(0)",
        "tests/nn/test_still_input.py tests/spiketrain/test_network.py",
    ),
    Mutant(
        "spikeops/functional/_batch_norm.py", "the running variance is the biased one",
        "momentum * (variance * count / (count - 1))", "momentum * variance",
        "tests/ops/test_batch_norm_lif.py -k torchs",
    ),
    Mutant(
        "spikeops/functional/_batch_norm.py", "the variance of all processes without that between them",
        "return mean, ((variances + (means - mean) ** 2) * counts).sum(0) / total", "return mean, (variances * counts).sum(0) / total",
        "tests/ops/test_synchronized_batch_norm.py",
    ),
    Mutant(
        "spikeops/nn/fusing.py", "neurons in a chain that is used twice are taken away",
        " or self._uses[id(following.owner)] > 1", "",
        "tests/nn/test_fuse.py -k left",
    ),
    Mutant(
        "spikeops/nn/_dataflow.py", "what is done between a batch norm and its neurons does not matter",
        "following = {node: after for node, after in zip(nodes, [*nodes[1:], None])}",
        "following = {node: min(node.users, key=nodes.index, default=None) for node in nodes}",
        "tests/nn/test_fuse_refused.py",
    ),
    Mutant(
        "spikeops/nn/_decisions.py", "whether an argument is None decides nothing",
        "ast.Is, ast.IsNot, ast.In, ast.NotIn", "ast.In, ast.NotIn",
        "tests/nn/test_fuse_decisions.py",
    ),
    Mutant(
        "spikeops/nn/fusing.py", "forwards are not traced again once the op is in",
        "for root in self._flows.changed():", "for root in ():",
        "tests/nn/test_fuse_decisions.py",
    ),
)  # fmt: skip
