"""Sphinx: `make docs` writes build/docs/index.html from these pages and the docstrings of the installed package."""

import spikeops

project = "spikeops"
author = "the spikeops authors"
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
