"""Samples in folders of classes: ROOT/train/CLASS/** and ROOT/test/CLASS/**, classes by the order of their names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from spiketrain.data.listing import Listing, is_hidden, list_files
from spiketrain.errors import UserError


class ClassFolders:
    """The files of both parts, with their labels.

    Attributes:
        classes: their names
        files: of each part, ``train`` and ``test``
        labels: of those files, numbers of classes

    Args:
        root: the folder of the parts
        suffixes: of the files, as for `list_files`
        kind: what a file is called: a picture, a recording
        example: of file names, for error messages

    Raises:
        UserError: a part or a class holds no files, or a class is in the test part alone.
    """

    def __init__(self, root: Path, suffixes: Collection[str], kind: str, example: str) -> None:
        listings = {part: list_of_classes(root / part, suffixes, kind, example) for part in ("train", "test")}
        names = {part: [class_of(path, listing) for path in listing.files] for part, listing in listings.items()}
        self.classes = tuple(sorted(set(names["train"])))
        check_no_empty_class(root / "train", self.classes, kind)
        if unseen := set(names["test"]) - set(self.classes):
            raise UserError(f"{root / 'test'} has a class that {root / 'train'} lacks: {min(unseen)}")
        number = {name: i for i, name in enumerate(self.classes)}
        self.files = {part: listing.files for part, listing in listings.items()}
        self.labels = {part: [number[name] for name in of_part] for part, of_part in names.items()}


def list_of_classes(folder: Path, suffixes: Collection[str], kind: str, example: str) -> Listing:
    """The files in the folders of classes below `folder`; what else is there is left out, and said.

    Raises:
        UserError: there are none.
    """
    if not folder.is_dir():
        raise UserError(f"data set not found: no folder {folder}. Expected {folder}/CLASS/{example} below --data.root")
    listing = list_files(folder, suffixes)
    listing.leave_out((path for path in listing.files if path.parent == folder), "in no folder of a class")
    listing.say_what_was_left_out()
    if not listing.files:
        raise UserError(f"no {kind}s in {folder}: expected {folder}/CLASS/{example}")
    return listing


def class_of(path: Path, listing: Listing) -> str:
    """The folder right below that of the listing."""
    return path.relative_to(listing.folder).parts[0]


def check_no_empty_class(folder: Path, classes: Collection[str], kind: str) -> None:
    """Refuse a folder of a class without a file that is read."""
    folders = {path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)}
    if empty := sorted(folders - set(classes)):
        raise UserError(f"{folder / empty[0]} holds no {kind} that is read: add some, or remove the folder")
