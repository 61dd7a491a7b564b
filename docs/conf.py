"""Sphinx: `make docs` writes build/docs/index.html from these pages and the docstrings of the installed package."""

import re
from pathlib import Path

import spikeops

project = "spikeops"
author = "the spikeops authors"
copyright = f"{author}, MIT licence"
version = release = spikeops.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"spikeops {release}"


def link_files_outside(app, docname, source):
    """Pages link to files of the repository by their place. Beside the site there is no repository: files go along, folders are names."""
    folder = Path(app.srcdir, docname).parent

    def link(match):
        text, target = match["text"], match["target"].partition("#")[0]
        path = (folder / target).resolve()
        if path.is_relative_to(app.srcdir):
            return match[0]
        return f"{{download}}`{' '.join(text.split())} <{target}>`" if path.is_file() else text

    source[0] = re.sub(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)]+)\)", link, source[0])


def keep_shapes(app, what, name, obj, options, lines):
    """A shape (N, *shape) is no emphasis."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else re.sub(r"(?<=[ (])\*(?=\w)", r"\\*", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", keep_shapes)
    app.connect("source-read", link_files_outside)
