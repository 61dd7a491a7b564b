"""set_backend, backend and backends."""

import pytest
import torch

import spikeops
import spikeops.functional as SF
from spikeops import _backend, _devices, _library, reference


@pytest.fixture(autouse=True)
def restored():
    with spikeops.backend("auto"):
        yield


def test_backends_reports_the_cpu():
    cpu = spikeops.backends()["cpu"]
    assert cpu["available"] is True and cpu["reason"] == ""
    assert cpu["version"] == spikeops.__version__
    assert cpu["isa"] in ("v2", "v3", "v4", "native")
    assert cpu["threads"] == torch.get_num_threads()
    # No multiply-add contraction: the same spikes on every backend.
    assert "-ffp-contract=off" in cpu["flags"]
    assert cpu["compiler"] and cpu["torch_headers"]


def test_what_is_not_available_has_a_reason():
    for name, entry in spikeops.backends().items():
        assert entry["available"] is (entry["reason"] == ""), name
    assert set(spikeops.backends()) == {"cpu", "cuda", "triton"}
    for name in ("cuda", "triton"):
        entry = spikeops.backends()[name]
        assert len(entry["devices"]) == len(entry["reasons"])


@pytest.fixture
def calls(monkeypatch):
    """Counts calls of the reference."""
    found = []

    def counting(*args, **kwargs):
        found.append(args)
        return original(*args, **kwargs)

    original = reference.synaptic_filter
    monkeypatch.setattr(reference, "synaptic_filter", counting)
    return found


def test_reference_runs_on_request_only(calls):
    x = torch.rand(4, 3)
    native = SF.synaptic_filter(x, 3.0)
    assert calls == []
    with spikeops.backend("reference"):
        assert torch.equal(SF.synaptic_filter(x, 3.0), native)
    assert len(calls) == 1
    SF.synaptic_filter(x, 3.0)
    assert len(calls) == 1
    spikeops.set_backend("reference")
    SF.synaptic_filter(x, 3.0)
    assert len(calls) == 2


def _convex(x):
    weights = (torch.ones(shape, device=x.device) for shape in ((2, 3), (2, 2), (2,)))
    return SF.convex_snn_trial(x.unsqueeze(1), *weights, dt=0.01, leak=2.0)


ALL_OPS = {
    "lif": (lambda x: SF.lif(x), "lif"),
    "lif_rate": (lambda x: SF.lif_rate(x), "lif_rate"),
    "tssl_bp": (lambda x: SF.tssl_bp(x), "tssl_bp"),
    "synaptic_filter": (lambda x: SF.synaptic_filter(x, 3.0), "synaptic_filter"),
    "spike_count": (lambda x: SF.spike_count(x), "spike_count"),
    "pack_spikes": (lambda x: SF.pack_spikes(x), "pack_spikes"),
    "unpack_spikes": (lambda x: SF.unpack_spikes(torch.zeros(1, 2, dtype=torch.uint16), 3), "unpack_spikes"),
    "poisson_encode": (lambda x: SF.poisson_encode(x, 3), "poisson_encode"),
    "clamped_lif": (lambda x: SF.clamped_lif(x, x[0]), "clamped_lif"),
    "convex_snn_trial": (lambda x: _convex(x), "convex_snn_trial"),
    "latency_encode": (lambda x: SF.latency_encode(x, 3), "latency_encode"),
}


@pytest.mark.parametrize("op", ALL_OPS)
def test_every_op_obeys_the_reference_backend(op, monkeypatch):
    call, name = ALL_OPS[op]

    class Reached(Exception):
        pass

    def reached(*args, **kwargs):
        raise Reached

    monkeypatch.setattr(reference, name, reached)
    call(torch.rand(4, 3))
    with spikeops.backend("reference"), pytest.raises(Reached):
        call(torch.rand(4, 3))


@pytest.mark.parametrize("op", ALL_OPS)
def test_meta_tensors(op, monkeypatch):
    """Shapes can be worked out without memory or kernels."""
    call, _ = ALL_OPS[op]
    outputs = call(torch.empty(4, 3, device="meta"))
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        assert output.device.type == ("cpu" if op == "unpack_spikes" else "meta")


def test_bad_arguments_are_refused_by_the_reference_backend_too():
    with spikeops.backend("reference"), pytest.raises(ValueError, match="tau_s"):
        SF.synaptic_filter(torch.rand(4, 3), -1.0)


def test_context_restores_even_after_errors():
    spikeops.set_backend("native")
    with pytest.raises(ZeroDivisionError), spikeops.backend("reference"):
        1 / 0
    assert _backend._choice == "native"
    with spikeops.backend("reference"):
        with spikeops.backend("auto"):
            assert not _backend.is_reference()
        assert _backend.is_reference()


@pytest.mark.parametrize("name", ["cuda", "", None, "Reference"])
def test_unknown_backend(name):
    expected = f"set_backend: expected one of auto, native, triton, reference, got {name!r}."
    with pytest.raises(ValueError, match=expected.replace(".", r"\.")):
        spikeops.set_backend(name)
    with pytest.raises(ValueError), spikeops.backend(name):
        pass
    assert _backend._choice == "auto"


@pytest.mark.skipif(not _devices.no_triton(), reason="triton can be used here")
def test_triton_without_a_gpu_says_why():
    with pytest.raises(RuntimeError, match="set_backend: the triton backend cannot be used: .*(no GPU|not installed)"):
        spikeops.set_backend("triton")


@pytest.mark.parametrize("name", ["auto", "native"])
def test_cuda_tensor_without_cuda_kernels(name, monkeypatch):
    """No silent fallback: the error tells both ways out."""
    monkeypatch.setattr(_library, "_cuda_reason", "this spikeops was built without CUDA: build it with CUDA")
    monkeypatch.setattr(_devices, "_triton_missing", lambda: "the package triton is not installed: pip install triton")
    with spikeops.backend(name), pytest.raises(RuntimeError) as caught:
        _backend.namespace("lif", torch.device("cuda:0"))
    message = str(caught.value)
    assert message.startswith(f"lif: no {'' if name == 'auto' else 'native '}kernels for CUDA tensors on cuda:0: ")
    assert "this spikeops was built without CUDA: build it with CUDA" in message
    assert message.endswith("; or run the slow reference by spikeops.set_backend('reference').")


def test_cuda_tensor_prefers_native_then_triton(monkeypatch):
    cuda = torch.device("cuda:0")
    monkeypatch.setattr(_devices, "triton_reason", lambda index: "")
    monkeypatch.setattr(_library, "_cuda_reason", "")
    assert _backend.namespace("lif", cuda) is torch.ops.spikeops
    monkeypatch.setattr(_library, "_cuda_reason", "built without")
    assert _backend.namespace("lif", cuda) is torch.ops.spikeops_triton
    with spikeops.backend("native"), pytest.raises(RuntimeError, match="no native kernels for CUDA tensors on cuda:0: built without"):
        _backend.namespace("lif", cuda)
