# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Command-line tools as modules, for tests in the same process."""
import importlib.util
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[1] / 'tools'


def load_tool(path: str) -> ModuleType:
    """Run a file of the folder ``tools``, but not its ``main``."""
    file = TOOLS / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
