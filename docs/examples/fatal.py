"""BPTT of which a process is lost."""

import os
import signal

from spiketrain import distributed
from spiketrain.methods import bptt


class Fatal(bptt.BPTT):
    def training_step(self, inputs, labels, batch_size):
        is_first_time = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if self.steps == 40 and distributed.rank() == 1 and is_first_time:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(inputs, labels, batch_size)
