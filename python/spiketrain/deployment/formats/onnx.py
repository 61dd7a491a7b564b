"""ONNX, by the reference ops: plain arithmetic, with time unrolled, that any runtime computes."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spikeops
from spiketrain.deployment.formats.pt2 import about, wanted
from spiketrain.deployment.model import Model
from spiketrain.deployment.traceable import exported_program, other_formats
from spiketrain.errors import UserError, shortened

IS_EXACT = False
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def files(out: Path) -> list[Path]:
    missing = []
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(f"ONNX needs {', '.join(missing)}: pip install \"spikeops[export]\"")
    return [out]


def write(model: Model, out: Path, options: dict[str, Any]) -> list[str]:
    with spikeops.backend("reference"):
        program = exported_program(model, "onnx", sums_as_means=True)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            converted = torch.onnx.export(program, dynamo=True, input_names=["inputs"], output_names=["scores"], verbose=False)
            for name, value in about(model).items():
                converted.model.metadata_props[f"spiketrain.{name}"] = value if isinstance(value, str) else json.dumps(value)
            converted.save(str(out), external_data=False)
    except OSError:  # of the file
        raise
    except Exception as error:  # whatever the converter has not, or a graph of more than 2 GB
        reason = shortened(str(error).strip().split("\n")[0] or type(error).__name__, 120)
        raise UserError(f"onnx cannot express the network: torch.onnx says {reason}. {other_formats(model, 'onnx')}") from None
    return [f"its input is called inputs, {wanted(model)}; its output scores, (N, {len(model.class_names)})"]


def scores(model: Model, out: Path, inputs: Tensor, options: dict[str, Any]) -> Tensor:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(out.read_bytes(), settings, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["scores"], {session.get_inputs()[0].name: inputs.cpu().numpy()})[0])
