"""Commands in processes of their own, one after the other."""

import forked


class Server:
    """Runs commands one after the other, or starts one that goes on by itself.

    Attributes:
        errors: what the latest command wrote to stderr
    """

    def __init__(self):
        self._latest = []

    def run(self, *words, seconds=600.0, largest=None, processes=None):
        """The exit status, -9 where it was killed.

        Args:
            seconds: for which it may run
            largest: bytes of a file; what would be longer cannot be written
            processes: of the group that the command is in, if any; they are killed together
        """
        if processes is None:
            self._latest = [forked.start(forked.COMMAND, *words, largest=largest)]
        else:
            self._latest = forked.start_group(forked.COMMAND, *words, count=processes, largest=largest)
        statuses = forked.wait_all(self._latest, seconds)
        return -9 if -9 in statuses else max(statuses, key=abs)

    def start(self, *words):
        """A command that runs beside whoever called: a :class:`forked.Running`. One at a time."""
        self._latest = [forked.start(forked.COMMAND, *words)]
        return self._latest[0]

    @property
    def errors(self):
        return "".join(running.errors for running in self._latest)

    def close(self):
        for running in self._latest:
            running.kill()
