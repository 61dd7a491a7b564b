"""Two machines with a cable between them: network namespaces, each with a host name of its own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_numbers = itertools.count()
# A command under another host name, where both names are known, in the namespaces that `unshare` made for it.
_NAMED = """
import os, socket, subprocess, sys
socket.sethostname(sys.argv[1])
for file in ("hosts", "resolv.conf"):
    subprocess.run(["mount", "--bind", os.path.join(sys.argv[2], file), "/etc/" + file], check=True)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Hosts:
    """host-a, 10.77.0.1, and host-b, 10.77.0.2, which see each other alone. A test that may not make them is skipped.

    Args:
        folder: for the files of their names

    Attributes:
        addresses: by host
    """

    def __init__(self, folder: Path) -> None:
        number = next(_numbers)
        self.addresses = {"host-a": "10.77.0.1", "host-b": "10.77.0.2"}
        self._namespaces = {host: f"spiketrain-{os.getpid()}-{number}-{host}" for host in self.addresses}
        self._folder = folder
        (folder / "resolv.conf").write_text("")  # torch looks addresses up, and would wait for servers that nobody reaches from here
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in self.addresses.items()))

    def __enter__(self) -> Hosts:
        first, second = self._namespaces.values()
        try:
            for namespace in (first, second):
                _ip("netns", "add", namespace)
            _ip("-n", first, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", second)
            for host, namespace in self._namespaces.items():
                _ip("-n", namespace, "address", "add", f"{self.addresses[host]}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    _ip("-n", namespace, "link", "set", device, "up")
            subprocess.run(self.command("host-a", "true"), check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            pytest.skip(f"two hosts need network namespaces: {getattr(error, 'stderr', None) or error}")
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in self._namespaces.values():
            found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False) if _has_ip() else None
            for process in (found.stdout.split() if found else []):
                os.kill(int(process), signal.SIGKILL)
            if found:
                subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)

    def command(self, host: str, *words: str) -> list[str]:
        """A command as it runs on a host."""
        return ["ip", "netns", "exec", self._namespaces[host], "unshare", "--uts", "--mount", sys.executable, "-c", _NAMED, host, str(self._folder), *words]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _has_ip() -> bool:
    return subprocess.run(["sh", "-c", "command -v ip"], capture_output=True, check=False).returncode == 0
