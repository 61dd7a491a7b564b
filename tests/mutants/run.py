"""Make one wrong change after the other in a copy of the tree, and see whether the tests notice.

python tests/mutants/run.py [--only PATTERN] [--jobs 1] [--out FILE] [--work FOLDER] [--list]

Prints a row for each mutant (tests/helpers/mutation) and a summary; the exit status is 1 where fewer than 95 % are killed, or one does
not apply to the sources any more or does not compile. A mutant is killed where a test fails that passes without it; each is run
against the tests that it names. What is compiled is compiled in the copy, once as it is, and then what the mutant touches.
"""

import argparse
import contextlib
import fnmatch
import json
import queue
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from mutation.catalogue import MUTANTS  # noqa: E402
from mutation.mutant import DoesNotApplyError, Mutant  # noqa: E402
from mutation.workspace import BuildFailed, Workspace  # noqa: E402

KILLED, SURVIVED, BROKEN = "killed", "survived", "did not apply"
WANTED = 0.95


@dataclass
class Result:
    name: str
    verdict: str
    seconds: float
    how: str  # the test that noticed, or what is wrong with the mutant


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="mutants whose name (see --list) matches, as in '*cuda*'")
    parser.add_argument("--jobs", type=int, default=1, help="copies of the tree at work at the same time; one of them compiles")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the table as JSON, too")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where to keep the copies, to go on from what is compiled there")
    parser.add_argument("--list", action="store_true", help="print the mutants' names, and do nothing")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if fnmatch.fnmatch(mutant.name, f"*{arguments.only}*")]
    if arguments.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    if not chosen:
        parser.error(f"no mutant matches {arguments.only}")
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
        results = run_all(chosen, work.resolve(), max(1, arguments.jobs))
    if arguments.out:
        arguments.out.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return summarise(results)


def run_all(mutants: list[Mutant], work: Path, jobs: int) -> list[Result]:
    """The results in the order of the mutants. The first copy takes what is compiled, all take the rest."""
    native, plain = queue.SimpleQueue(), queue.SimpleQueue()
    for mutant in mutants:
        (native if mutant.library else plain).put(mutant)
    results: dict[str, Result] = {}

    def take(queues: list[queue.SimpleQueue], copy: Workspace) -> None:
        known: dict[str, bool] = {}
        for waiting in queues:
            with contextlib.suppress(queue.Empty):
                while True:
                    mutant = waiting.get_nowait()
                    result = results[mutant.name] = attempt(mutant, copy, known)
                    print(f"{len(results):3} of {len(mutants)}  {result.verdict:13} {result.seconds:5.0f} s  {result.name}  ({result.how})", flush=True)

    copies = [Workspace(work / str(number)) for number in range(jobs)]
    libraries = {mutant.library for mutant in mutants if mutant.library}
    if libraries:
        print(f"compiling {', '.join(sorted(libraries))} as they are", flush=True)
        copies[0].build(libraries | {"cpu"})
    threads = [threading.Thread(target=take, args=([plain], copy)) for copy in copies[1:]]
    for thread in threads:
        thread.start()
    take([native, plain], copies[0])
    for thread in threads:
        thread.join()
    for copy in copies:
        copy.close()
    return [results[mutant.name] for mutant in mutants]


def attempt(mutant: Mutant, copy: Workspace, known: dict[str, bool]) -> Result:
    """Whether the tests notice. `known`: of tests, whether they pass without any mutant."""
    started = time.monotonic()

    def result(verdict: str, how: str) -> Result:
        return Result(mutant.name, verdict, round(time.monotonic() - started, 1), how)

    if mutant.tests not in known:
        known[mutant.tests] = copy.test(mutant.tests).is_clean
    if not known[mutant.tests]:
        return result(BROKEN, f"its tests do not pass without it: {mutant.tests}")
    try:
        with copy.changed(mutant):
            outcome = copy.test(mutant.tests)
    except (DoesNotApplyError, BuildFailed) as error:
        return result(BROKEN, str(error))
    if outcome.is_clean:
        return result(SURVIVED, mutant.tests)
    return result(KILLED if outcome.noticed else BROKEN, outcome.failure)


def summarise(results: list[Result]) -> int:
    width = max(len(result.name) for result in results)
    print()
    for result in results:
        print(f"{result.name:{width}}  {result.verdict}")
    count = {verdict: sum(result.verdict == verdict for result in results) for verdict in (KILLED, SURVIVED, BROKEN)}
    print(f"\n{count[KILLED]} of {len(results)} killed, {count[SURVIVED]} survived, {count[BROKEN]} did not apply")
    for result in results:
        if result.verdict != KILLED:
            print(f"  {result.verdict}: {result.name}\n    {result.how}")
    return int(count[BROKEN] > 0 or count[KILLED] < WANTED * len(results))


if __name__ == "__main__":
    sys.exit(main())
