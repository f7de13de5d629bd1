# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where runs recorded with official code are."""
import os
from pathlib import Path
from typing import List

VISIBLE = Path(__file__).parents[1] / 'data' / 'parity'


def parity_files() -> List[Path]:
    """Recorded files: ours and those of the folder REFINEVIS_PARITY_DIR."""
    files = sorted(VISIBLE.glob('*.npz'))
    folder = os.environ.get('REFINEVIS_PARITY_DIR')
    if folder:
        files += sorted(Path(folder).rglob('*.npz'))
    return files
