"""What the neurons of a ring do in a pass, step by step."""

import torch

import spikeops.functional as SF


class Recorder:
    """Stands in for the step ops, calls them, and keeps every layer's membrane potentials before the reset, and spikes.

    Attributes:
        forward, backward: per population, in the order in which they step first: lists of (potential, spikes) per time step.
    """

    def __init__(self, monkeypatch):
        self.forward, self.backward = [], []
        self._populations = {}
        self._step, self._ternary = SF.feedback_step_, SF.ternary_step_
        monkeypatch.setattr(SF, "feedback_step_", self._record_forward)
        monkeypatch.setattr(SF, "ternary_step_", self._record_backward)

    def _record_forward(self, membrane, spikes, rate, drive=None, **options):
        scaled = None if drive is None or options.get("mask") is None else drive * options["mask"]
        self._run(self._step, self.forward, membrane, spikes, rate, drive, drive if scaled is None else scaled, options)

    def _record_backward(self, membrane, spikes, rate, drive=None, **options):
        scaled = None if drive is None else options["drive_scale"] * drive
        self._run(self._ternary, self.backward, membrane, spikes, rate, drive, scaled, options)

    def _run(self, op, populations, membrane, spikes, rate, drive, scaled, options):
        """Several steps one by one, so that each one's potential is seen."""
        if membrane.data_ptr() not in self._populations:
            self._populations[membrane.data_ptr()] = (membrane, [])  # keeps the memory from being used again
            populations.append(self._populations[membrane.data_ptr()][1])
        steps = self._populations[membrane.data_ptr()][1]
        if spikes.dim() > membrane.dim():
            for k in range(len(spikes)):
                now = dict(options)
                if options.get("fired") is not None:
                    now["fired"] = options["fired"][k : k + 1]
                if options.get("current") is not None and options["current"].dim() > membrane.dim():
                    now["current"] = options["current"][k]
                at_k = [None if value is None else value[k] for value in (spikes, drive, scaled)]
                self._run_one(op, steps, membrane, at_k[0], rate, *at_k[1:], now)
        else:
            self._run_one(op, steps, membrane, spikes, rate, drive, scaled, options)

    @staticmethod
    def _run_one(op, steps, membrane, spikes, rate, drive, scaled, options):
        potential = membrane.clone()
        for part in (scaled, options.get("current")):
            if part is not None:
                potential += part
        op(membrane, spikes, rate, drive, **options)
        steps.append((potential, spikes.clone()))

    @staticmethod
    def potentials(population):
        return torch.stack([potential for potential, _ in population])
