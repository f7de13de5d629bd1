# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where runs recorded with official code are, and of which family."""
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import List, Optional

import numpy as np

VISIBLE = Path(__file__).parents[1] / 'data' / 'parity'


def parity_files(family: Optional[str] = None) -> List[Path]:
    """Recorded files: ours and those of the folder REFINEVIS_PARITY_DIR.

    Args:
        family (str, optional): Only those of this family, see
            :func:`family_of`. Defaults to None.

    Returns:
        list[Path]: The files.
    """
    files = sorted(VISIBLE.glob('*.npz'))
    folder = os.environ.get('REFINEVIS_PARITY_DIR')
    if folder:
        files += sorted(Path(folder).rglob('*.npz'))
    return [path for path in files if family in (None, family_of(path))]


@lru_cache(maxsize=None)
def family_of(path: Path) -> Optional[str]:
    """Family of a recorded file, by what is in it; names are free.

    Args:
        path (Path): An ``.npz`` file.

    Returns:
        str, optional: 'maskdino', 'idol', 'minvis', 'vita' or 'seqformer';
        None for others.
    """
    with np.load(path) as data:
        names = set(data.files)
        meta = json.loads(str(data['meta_json'])) if 'meta_json' in names \
            else {}
    sizes = meta.get('hp', {})
    config = meta.get('official_config', '')
    signs = dict(
        maskdino='feature_order' in sizes,
        idol='projects/IDOL' in config or {'seq', 'vid'} <= set(meta),
        vita='vita_enc' in sizes,
        seqformer='projects/SeqFormer' in config,
        minvis=bool({'video/permutation', 'video0/out_permutation'} & names))
    return next((name for name, found in signs.items() if found), None)
