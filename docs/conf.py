"""Sphinx configuration; `python -m sphinx -W docs docs/_build`."""

import wsock

project = "wsock"
copyright = "The wsock developers"
release = version = wsock.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
