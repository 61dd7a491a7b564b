"""Autograd functions with a formula for forward mode."""

from torch.autograd import forward_ad


def forward_mode(function):
    """Class decorator: the static method ``tangent`` is the function's `jvp`, where tangents are carried. Only there, as
    torch.compile refuses functions that have one."""
    function.dual = type(function.__name__, (function,), {"jvp": staticmethod(function.tangent)})
    return function


def call(function, *args):
    """`apply` of a function made by :func:`forward_mode`."""
    return (function.dual if forward_ad._current_level >= 0 else function).apply(*args)
