# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Settings of the API reference; `make docs` builds it from the docstrings."""
from typing import Any

from refinevis_mm import __version__

project = 'refinevis_mm'
author = 'The refinevis_mm authors'
copyright = author
version = release = __version__

extensions = [
    'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.mathjax',
    'sphinx.ext.viewcode'
]
root_doc = 'index'
html_theme = 'alabaster'
html_title = f'refinevis_mm {version}'
html_theme_options = dict(page_width='70em', fixed_sidebar=True)

# a class stands where it is written, not in every package that names it
autodoc_default_options = {
    'members': True,
    'member-order': 'bysource',
    'show-inheritance': True,
    'ignore-module-all': True
}
autodoc_typehints = 'none'  # types and shapes are in the docstrings
# a name that two modules have links to one of them
suppress_warnings = ['ref.python']
napoleon_use_ivar = True
napoleon_use_rtype = False


def find_short_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Link what is named without its module, as docstrings name it.

    Args:
        app (Sphinx): The builder's application.
        env (BuildEnvironment): Has all names.
        node (pending_xref): The reference that was not found.
        contnode (Element): Its text.

    Returns:
        Element | None: The link, None where no name ends like this.
    """
    if node.get('refdomain') != 'py' or node.get('refspecific'):
        return None
    node['refspecific'] = True
    return env.get_domain('py').resolve_xref(env, node['refdoc'], app.builder,
                                             node['reftype'],
                                             node['reftarget'], node, contnode)


def setup(app: Any) -> None:
    """Called by Sphinx with its application."""
    app.connect('missing-reference', find_short_name)
