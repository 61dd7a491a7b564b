"""One stage of a pipeline: some consecutive layers, in a process of their own."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

import spikeops
from spiketrain import methods, plugins
from spiketrain.config import Config
from spiketrain.methods.base.layerwise import LayerwiseMethod
from spiketrain.methods.base.method import LayerResult
from spiketrain.training import devices
from spiketrain.training.pipeline.channel import Batch, Sender, StageLost, receive, receive_object, send_object

_JOIN_SECONDS = 300  # for all stages to find each other, once all are ready
READY = "ready"
LOST_NEIGHBOUR = 3  # exit status of a stage that stopped because another one did


class Plan(NamedTuple):
    """What a stage needs to know: the run, the shape of the data, all stages' layers, its own number (from 0 on)."""

    config: Config
    input_shape: tuple[int, int, int]
    classes: int
    stages: list[list[str]]
    number: int
    port: int
    threads: int
    main_process: int


class LayerTotals:
    """Sums over the steps of an epoch of what the layers of a stage report.

    Attributes:
        sums: of each layer, by name: sums of the fields of `LayerResult` that it reports
    """

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, Tensor]] = {}

    def add(self, results: dict[str, LayerResult]) -> None:
        for name, result in results.items():
            sums = self.sums.setdefault(name, {})
            for key, value in vars(result).items():
                if value is not None:
                    sums[key] = sums[key] + value if key in sums else value


def join(plan: Plan, store: dist.Store | None = None) -> None:
    """Become stage `plan.number` of the pipeline."""
    count = len(plan.stages)
    store = store or dist.TCPStore("127.0.0.1", plan.port, count, is_master=False, wait_for_workers=False)
    dist.init_process_group(
        "gloo", store=store, rank=plan.number, world_size=count, timeout=datetime.timedelta(seconds=_JOIN_SECONDS)
    )


def device_of(plan: Plan) -> torch.device:
    """The stage's device: GPUs are dealt out in turn."""
    if devices.named(plan.config.trainer.device).type == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", plan.number % torch.cuda.device_count())


def start(plan: Plan) -> tuple[subprocess.Popen, Connection]:
    """Start the process of a stage. Through the connection come the word ready, and the reason if the stage fails."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    content = {**plan._asdict(), "config": plan.config.to_dict()}
    order = {"plan": content, "plugins": plugins.allowed_modules()}
    # With the same search path as here, and without a folder spiketrain that may lie where the run was started.
    code = "import sys; sys.path[:] = sys.argv[2:]; from spiketrain.training.pipeline.stage import main; main(int(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(sender.fileno()), *sys.path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[sender.fileno()])
    sender.close()
    with process.stdin:
        process.stdin.write(json.dumps(order).encode())
    return process, receiver


def main(report_to: int) -> None:
    """The process of every stage but the first. The plan comes by standard input, reports go to a file descriptor."""
    order = json.load(sys.stdin)
    with plugins.allowed(order["plugins"]):
        _run(Plan(**{**order["plan"], "config": methods.load_config(order["plan"]["config"])}), report_to)


def _run(plan: Plan, report_to: int) -> None:
    report = Connection(report_to, readable=False)
    # Ctrl-C, and a terminal that hangs up, reach all processes of the terminal; the first stage deals with them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    spikeops.keep_freed_memory()
    torch.set_num_threads(plan.threads)
    try:
        device = device_of(plan)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        method = methods.get(plan.config.method.name)(plan.config, plan.input_shape, plan.classes, device)
        report.send(READY)
        join(plan)
        _work(plan, method)
    except StageLost as error:
        if _is_orphan(plan, patience=2.0 if error.stage == 0 else 0.0):  # else the first stage finds out whose fault it is
            lost, mine = (describe(plan.stages, number) for number in (0, plan.number))
            print(f"spiketrain: error: {lost}, the main process, is gone; {mine} stops", file=sys.stderr)
        sys.exit(LOST_NEIGHBOUR)
    except Exception as error:  # whatever it is, the first stage is to report it
        traceback.print_exc()
        report.send(f"{type(error).__name__}: {error}")
        sys.exit(1)


def _is_orphan(plan: Plan, patience: float) -> bool:
    """Whether the first stage has died; its connections close a moment before it is dead, hence the patience, in seconds."""
    deadline = time.monotonic() + patience
    while os.getppid() == plan.main_process and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getppid() != plan.main_process


def describe(stages: list[list[str]], number: int) -> str:
    """What an error calls a stage: ``pipeline stage 2 of 3 (linear_2, linear_3)``."""
    return f"pipeline stage {number + 1} of {len(stages)} ({', '.join(stages[number])})"


def _work(plan: Plan, method: LayerwiseMethod) -> None:
    """Epoch after epoch: get the layers' state, train them on what the stage before sends, give the state back."""
    names = plan.stages[plan.number]
    device = device_of(plan)
    next_stage = Sender(plan.number + 1) if plan.number + 1 < len(plan.stages) else None
    while (order := receive_object(0)) is not None:
        method.load_layers_state(order["state"])
        method.start_epoch(order["epoch"])
        totals = LayerTotals()
        while (batch := receive(plan.number - 1, device)) is not None:
            spikes, results = method.train_layers(names, batch.spikes, batch.labels, batch.size)
            totals.add(results)
            if next_stage:
                next_stage.send(Batch(spikes, batch.labels, batch.size))
        if next_stage:
            next_stage.end()
        send_object({"totals": totals.sums, "state": method.layers_state(names)}, 0)
