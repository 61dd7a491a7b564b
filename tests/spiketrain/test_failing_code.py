"""Code of one's own that fails while a run is under way: one line, and the run goes on once the code is mended."""

import forked
import pytest
import yaml
from own_code import SMALL

CONFIG = {**SMALL, "network": {"model": "marked:network", "time_steps": 3}}
FAILS = """
    import sys
    import torch
    from spikeops import nn as snn
    import helpers

    class Network(torch.nn.Module):
        def __init__(self, neurons, classes):
            super().__init__()
            self.first = snn.TimeDistributed(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12)))
            self.neurons, self.last, self.steps = neurons, torch.nn.Linear(12, classes), 0

        def forward(self, x):
            self.steps += self.training
            if self.steps == 2:
                helpers.{fail}()
            return self.last(self.neurons(self.first(x)))

    def network(config, input_shape, classes, neuron):
        return Network(neuron((12,)), classes)
"""
HELPERS = """
    import sys

    class Own(BaseException): pass
    class Mute(Exception):
        def __str__(self): return 1 / 0
    def raises(error):
        def fail(): raise error
        return fail
    def leaves(): sys.exit(0)
    def recurs(): recurs()
    own, mute, value, name = raises(Own("of mine")), raises(Mute()), raises(ValueError("two\\nlines")), lambda: no_such_name
    ends, package = raises(GeneratorExit()), lambda: __import__("no_such_package_of_anyone")
"""


@pytest.mark.parametrize("fail, words", [
    ("value", "ValueError: two lines (helpers.py, line "), ("leaves", "SystemExit: 0 (helpers.py, line 10)"), ("own", "Own: of mine (helpers.py, line "),
    ("mute", "Mute (helpers.py, line "), ("recurs", "RecursionError: maximum recursion depth exceeded"), ("name", "NameError: "), ("ends", "GeneratorExit (helpers.py"),
    ("package", "No module named 'no_such_package_of_anyone' (helpers.py"),
])  # fmt: skip
def test_code_that_fails_in_the_middle_of_training_is_one_line(own_code, assert_error, cli, tmp_path, fail, words):
    """Whatever it raises: an exit status of 0, above all, would say that all went well."""
    own_code.write("marked", FAILS.format(fail=fail))
    own_code.write("helpers", HELPERS)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(CONFIG))
    assert_error(["code that the command line names has failed: ", words], "train", "--config", tmp_path / "a.yaml", "--plugin", "marked", "--trainer.out", "run")
    own_code.forget()
    (own_code.folder / "helpers.py").write_text(f"def {fail}(): pass")
    status, lines, errors = cli("resume", "run", "--plugin", "marked")
    assert (status, errors) == (0, []) and "epoch" in lines[-1]


def test_a_process_that_fails_is_said_by_the_others(own_code, tmp_path):
    own_code.write("marked", FAILS.format(fail="value"))
    own_code.write("helpers", HELPERS + "    import os\n    fail, value = value, lambda: fail() if os.environ['RANK'] == '1' else None\n")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(CONFIG))
    program = "import sys; sys.path.append('.'); from spiketrain.cli import main; sys.exit(main())"
    group = forked.start_group(program, "train", "--config", "a.yaml", "--plugin", "marked", "--trainer.out", "run")
    statuses = forked.wait_all(group)
    errors = [running.errors.splitlines() for running in group]
    assert statuses == [2, 2], errors
    for lines, words in zip(errors, ("stopped before the others, and says why", "ValueError: two lines (helpers.py, line")):
        lines = [line for line in lines if line.startswith("spiketrain: ") or "Traceback" in line]
        assert len(lines) == 1 and words in lines[0], errors
