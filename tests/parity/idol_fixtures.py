# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Cases of IDOL's tracker and training recorded with the official code."""
import json
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.recorded_files import VISIBLE, parity_files

OUR_FILE = VISIBLE / 'idol_tracker.npz'


def idol_cases(prefix: str) -> List:
    """(file, case) pairs of all files, e.g. (idol_tracker.npz, 'seq0')."""
    cases = []
    for file in parity_files():
        with np.load(file) as data:
            names = {key.split('/')[0] for key in data.files}
        cases += [
            pytest.param(file, name, id=f'{file.stem}-{name}')
            for name in sorted(names)
            if name.startswith(prefix) and name[len(prefix):].isdigit()
        ]
    return cases


def load_case(file: Path, case: str) -> Tuple[Dict[str, Tensor], dict]:
    """Arrays of one case as tensors without the prefix, and all metadata."""
    with np.load(file) as data:
        meta = json.loads(str(data['meta_json']))
        arrays = {
            key[len(case) + 1:]: torch.from_numpy(data[key])
            for key in data.files if key.startswith(f'{case}/')
        }
    return arrays, meta
