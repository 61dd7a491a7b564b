"""Options that are looked at once and found again: never for others that only equal them, or that change."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch

import spikeops.functional as SF
from spikeops import surrogate
from spikeops.functional import _remembered
from spikeops.functional._remembered import remembered
from spikeops.surrogate import ATan

FAMILIES = {
    "lif": lambda x, **options: SF.lif(x, **options),
    "lif_rate": lambda x, **options: (SF.lif_rate(x, **options),),
    "alif": lambda x, **options: SF.alif(x, **options),
    "cuba_lif": lambda x, **options: SF.cuba_lif(x, **options),
    "recurrent_lif": lambda x, **options: SF.recurrent_lif(x, torch.zeros(x.shape[-1]), **options),
}
each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def x():
    return torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) * 2


@each_family
@pytest.mark.parametrize("name", ["strict", "detach_reset"])
def test_a_flag_that_was_fine_makes_no_number_fine(x, family, name):
    for flag, number in ((True, 1), (False, 0)):
        FAMILIES[family](x, **{name: flag})
        with pytest.raises(TypeError, match=f"expected {name} to be True or False, got {number}"):
            FAMILIES[family](x, **{name: number})


@each_family
@pytest.mark.parametrize("name", ["decay", "threshold", "input_scale", "v_rest"])
def test_a_number_that_was_fine_makes_no_flag_fine(x, family, name):
    FAMILIES[family](x, **{name: 1})
    with pytest.raises(TypeError, match=f"expected {name} to be a number, got bool"):
        FAMILIES[family](x, **{name: True})


@pytest.mark.parametrize("family", ["lif", "alif", "cuba_lif", "recurrent_lif"])
def test_zeros_of_both_signs(family):
    x = torch.full((1, 3), 5.0)
    for _ in range(2):
        for zero in (0.0, -0.0):
            v_last = FAMILIES[family](x, reset="to", v_reset=zero)[1]
            assert torch.equal(torch.signbit(v_last), torch.full((3,), str(zero) == "-0.0")), f"v_reset={zero}: got {v_last}"


@each_family
def test_an_error_comes_each_time(x, family):
    decay = 1.5
    for _ in range(3):
        with pytest.raises(ValueError, match="to be between 0 and 1, got 1.5"):
            FAMILIES[family](x, decay=decay)


@each_family
def test_what_fits_one_dtype_need_not_fit_another(x, family):
    threshold = 1e300
    FAMILIES[family](x.double(), threshold=threshold)
    with pytest.raises(ValueError, match="threshold"):
        FAMILIES[family](x, threshold=threshold)


def test_an_array_that_changes_is_looked_at_again(x):
    decay = np.array(0.0)
    first = SF.lif(x, decay, 100.0)[1]
    decay.fill(1.0)
    assert torch.equal(first, x[-1])
    torch.testing.assert_close(SF.lif(x, decay, 100.0)[1], x.sum(0))


def test_a_surrogate_of_somebody_else_may_change(x):
    class Steep(ATan):
        factor = 1.0

        @property
        def scale_and_peak(self):
            kind, scale, peak = super().scale_and_peak
            return kind, scale, peak * Steep.factor

    bump = Steep(2.0)
    x.requires_grad_()

    def gradient():
        return torch.autograd.grad(SF.lif(x, surrogate=bump, detach_reset=True, decay=0.0)[0].sum(), x)[0]

    first = gradient()
    Steep.factor = 2.0
    assert torch.equal(gradient(), 2 * first)


def test_no_more_is_kept_than_so_much():
    asked = []
    function = remembered(lambda number: asked.append(number) or number)
    for number in range(3 * _remembered._MOST):
        function(number / 7)
    kept = [cell.cell_contents for cell in function.__closure__ if isinstance(cell.cell_contents, dict)]
    assert len(asked) == 3 * _remembered._MOST and kept and all(0 < len(each) <= _remembered._MOST for each in kept)


def test_it_is_asked_once_for_the_same_options():
    asked = []
    function = remembered(lambda *options: asked.append(options) or options)
    for tau in (3.0, 3.0, 4.0, 3.0):  # a decay that is worked out anew each time, and a surrogate that is made anew
        options = (torch.float32, math.exp(-1 / tau), None, "to", True, surrogate.Sigmoid(tau))
        assert function(*options) == options
    assert len(asked) == 2


@pytest.mark.parametrize("zeros", [(0.0, -0.0), (-0.0, 0.0)])
@pytest.mark.parametrize("wrap", [lambda zero: zero, lambda zero: surrogate.Sigmoid(1.0, center=zero)], ids=["number", "surrogate"])
def test_zeros_are_told_by_their_sign(zeros, wrap):
    function = remembered(lambda *options: [str(getattr(option, "center", option)) for option in options])
    for first in zeros:
        for second in zeros:
            assert function(wrap(first), wrap(second)) == [str(first), str(second)]


def test_tensors_are_not_kept(x):
    threshold = torch.ones(5)
    gone = weakref.ref(threshold)
    SF.lif(x, threshold=threshold)
    del threshold
    gc.collect()
    assert gone() is None, "a threshold lives on among remembered options"


def test_objects_whose_memory_is_used_again():
    """What an id stood for must not be mistaken for what comes to lie there."""
    function = remembered(lambda number: number)
    for step in range(1000):
        number = step / 3
        assert function(number) == step / 3
        del number
