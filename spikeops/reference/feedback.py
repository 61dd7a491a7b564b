"""Time steps of neurons in feedback networks: spiking (IDE, SPIDE forward) and ternary (SPIDE backward), in place on their state."""

__all__ = ["feedback_step_", "ternary_step_"]


def feedback_step_(membrane, spikes, rate, drive=None, *, current=None, mask=None, count=None, fired=None, leak=1.0, threshold=1.0,
                   reset_amount=None):  # fmt: skip
    """See :func:`spikeops.functional.feedback_step_`."""
    reset_amount = threshold if reset_amount is None else reset_amount
    for k, emitted in enumerate(_steps(spikes, membrane)):
        u = membrane
        if drive is not None:
            driven = _steps(drive, membrane)[k].to(u.dtype)
            u = u + (driven if mask is None else mask.to(u.dtype) * driven)
        if current is not None:
            u = u + _at_step(current, membrane, k)
        s = (u >= threshold).to(u.dtype)
        emitted.copy_(s)
        rate.copy_(leak * rate + s)
        if count is not None:
            count.add_(s)
        membrane.copy_(leak * (u - reset_amount * s))
        if fired is not None:
            fired.view(-1)[k] = (emitted != 0).any()


def ternary_step_(membrane, spikes, rate, drive=None, *, current=None, gate=None, count=None, fired=None, drive_scale=1.0, leak=1.0,
                  threshold=0.5, amplitude=None):  # fmt: skip
    """See :func:`spikeops.functional.ternary_step_`."""
    amplitude = 2 * threshold if amplitude is None else amplitude
    for k, emitted in enumerate(_steps(spikes, membrane)):
        u = membrane
        if current is not None:
            u = u + _at_step(current, membrane, k)
        if drive is not None:
            u = u + drive_scale * _steps(drive, membrane)[k].to(u.dtype)
        sign = (u >= threshold).to(u.dtype) - (u <= -threshold).to(u.dtype)
        emitted.copy_(sign * (amplitude if gate is None else gate.to(u.dtype)))
        rate.copy_(leak * rate + amplitude * sign)
        if count is not None:
            count.add_(sign.abs())
        membrane.copy_(leak * (u - amplitude * sign))
        if fired is not None:
            fired.view(-1)[k] = (emitted != 0).any()


def _steps(sequence, membrane):
    """(K, ...), also of a single step that comes without a time axis."""
    return sequence.unsqueeze(0) if sequence.dim() == membrane.dim() else sequence


def _at_step(current, membrane, k):
    """A constant current, or one per step."""
    return (current if current.dim() == membrane.dim() else current[k]).to(membrane.dtype)
