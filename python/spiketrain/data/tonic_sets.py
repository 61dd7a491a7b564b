"""Event data sets fetched with tonic (extra [events]), which knows where they lie and their MD5 sums, and unpacks them.

Only that is left to it: its readers fetch whatever they do not find together with its archive, and look at nothing that they read.
Where it puts the files is where ours look for them.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import zipfile
from pathlib import Path

from spiketrain.errors import UserError

# name of the data set -> tonic's class for it, and the arguments that name its parts
CLASSES = {
    "shd": ("SHD", ({"train": True}, {"train": False})),
    "ssc": ("SSC", ({"split": "train"}, {"split": "test"})),
    "dvs-gesture": ("DVSGesture", ({"train": True}, {"train": False})),
    "ncaltech101": ("NCALTECH101", ({},)),
}


def download(name: str, root: Path) -> None:
    """Fetch a data set into a folder below `root` that is called as tonic's class. What it prints goes to stderr.

    Raises:
        UserError: tonic is not installed, or the data set cannot be fetched.
    """
    title, parts = CLASSES[name]
    try:
        kind = getattr(importlib.import_module("tonic.datasets"), title)
    except ImportError as error:
        raise UserError(
            f'data.download: {name} is fetched with tonic, which cannot be imported ({error}): pip install "spikeops[events]"'
        ) from None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            for part in parts:
                kind(str(root), **part)
        folder = root / title
        inner = folder / "Caltech101.zip"  # lies packed within the archive of N-Caltech101
        if name == "ncaltech101" and inner.is_file() and not (folder / "Caltech101").is_dir():
            with zipfile.ZipFile(inner) as archive:
                archive.extractall(folder)
    except Exception as error:  # of networks, archives and the disk
        raise UserError(f"cannot download {name} into {root}: {type(error).__name__}: {error}"[:400]) from None
