"""Sphinx settings; `make docs` builds the pages."""

project = "ffprof"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "A hardware systems profiler for training methods",
    "page_width": "1100px",
    "sidebar_width": "260px",
    "fixed_sidebar": True,
}
html_copy_source = False
html_show_copyright = False
# Links into a page are checked, too.
myst_heading_anchors = 3
