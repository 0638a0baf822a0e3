"""The site of the documents, for Sphinx with MyST and Furo: `make docs`."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import catalogue  # it lies beside this file, which Sphinx reads from anywhere

project = "privpipe"
extensions = ["myst_parser"]
myst_heading_anchors = 4
# Signs of everyday text, such as quotation marks, stay as they were typed.
smartquotes = False

html_theme = "furo"
html_title = "privpipe"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# Summaries of what was found are fetched page by page, which a browser forbids to pages that are opened from disk.
html_show_search_summary = False


def setup(app: Sphinx) -> None:
    app.connect("source-read", catalogue.fill)
