# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where the stages of a frame and of a training step begin and end.

The tables name what belongs to which stage. They are strings, because this
package also measures older and newer checkouts, where some of it is missing.
"""
import importlib
import re
from typing import Any, Optional

from torch import nn

from .stage_timer import BESIDE, OTHER, TOTAL, StageTimer

# (stage, module of a model as a pattern, method)
MODEL_STAGES = (
    ('preprocess', r'data_preprocessor', 'forward'),
    ('backbone', r'(frame_model\.|segmenter\.detector\.)?backbone', 'forward'),
    ('encoder', r'(frame_model\.|segmenter\.detector\.)?neck', 'forward'),
    ('encoder', r'frame_model\.encoder', 'forward'),
    ('encoder', r'frame_model\.(head\.)?pixel_decoder', 'forward'),
    ('query selection', r'frame_model', 'select_queries'),
    ('query selection', r'frame_model', 'init_anchors'),
    ('denoising queries', r'frame_model\.dn_query_generator', 'forward'),
    ('decoder', r'frame_model\.decoder', 'forward'),
    ('decoder', r'frame_model\.head\.transformer_decoder\.layers\.\d+',
     'forward'),
    ('heads', r'frame_model\.head', 'forward'),
    ('heads', r'frame_model', 'classify'),
    ('heads', r'frame_model', 'class_scores'),
    ('heads', r'(segmenter\.detector\.)?(bbox|rpn|roi|mask)_head', 'predict'),
    ('masks', r'frame_model', 'segment'),
    ('masks', r'', '_predict_single'),
    ('masks', r'', 'decode'),
    ('frame model', r'frame_model', 'forward_frames'),
    ('association', r'association_head', 'forward'),
    ('association', r'', 'associate'),
    ('association', r'', '_loss_association'),
    ('refinement', r'tar_head', 'refine'),
    ('refinement', r'', '_loss_refinement'),
    ('matching', r'frame_model\.head', 'match'),
    ('matching', r'frame_model\.head', 'match_masks'),
    ('matching', r'frame_model', 'match'),
    ('losses', r'frame_model', 'loss_frames'),
)
# Methods of a compiled frame model that are called from outside.
COMPILED = ('forward_frames', 'segment')
# (stage, module or class of the package, function or method)
FUNCTION_STAGES = (
    ('preprocess', 'apis.session:Session', 'preprocess'),
    ('association', 'apis.session:Session', '_discard'),
    ('association', 'apis.session:Session', '_merge'),
    ('association', 'apis.session:Session', '_forget'),
    ('refinement', 'models.refinement.refiners:OnlineRefiner', 'push'),
    ('refinement', 'models.refinement.refiners:OfflineRefiner', 'push'),
    ('refinement', 'models.refinement.refiners:OfflineRefiner', 'flush'),
    ('mask resizing', 'models.refinement.decoding', 'resize_masks'),
    ('mask resizing', 'models.frame_level.frame_model_detector',
     'resize_masks'),
    ('mask resizing', 'models.frame_level.condinst_detector', 'resize_masks'),
    ('RLE', 'structures.frame_result', 'encode_masks'),
    ('RLE', 'structures.frame_result:FrameInstances', 'from_decoded'),
    ('drawing', 'apis.outputs:_Overlay', 'add'),
    ('drawing', 'visualization:RefinementStrips', 'add'),
    ('drawing', 'visualization:FrameSpool', 'add'),
    ('video encoding', 'video_io:H264Writer', 'write'),
    ('recording', 'recording:VideoRecording', 'add'),
    ('recording', 'recording:VideoRecording', 'add_origin'),
    ('recording', 'apis.render:_Run', '_checkpoint'),
    ('recording', 'recording:VideoRecording', 'finish'),
    ('files at the end', 'apis.render:_Run', 'write_files'),
    ('files at the end', 'apis.render:_Run', 'publish'),
    ('ground truth', 'structures:ClipTargets', 'from_data_sample'),
)
# in the order of tables
ORDER = ('data loading', 'decode', 'preprocess', 'ground truth', 'backbone',
         'encoder', 'query selection', 'denoising queries', 'decoder', 'heads',
         'frame model', 'matching', 'losses', 'association', 'refinement',
         'masks', 'mask resizing', 'RLE', 'drawing', 'video encoding',
         'recording', 'files at the end', 'backward', 'optimiser', OTHER)
STAGES = (*ORDER, *(stage + BESIDE for stage in ORDER), TOTAL)


def watch_model(timer: StageTimer,
                model: nn.Module,
                compiled: bool = False) -> None:
    """Time every part of a model that ``MODEL_STAGES`` names.

    Args:
        timer (:obj:`StageTimer`): Its context undoes it.
        model (nn.Module): The model.
        compiled (bool): Whether its frame model is compiled: what is called
            inside of that is left alone. Defaults to False.
    """
    modules = dict(model.named_modules())
    for stage, pattern, method in MODEL_STAGES:
        for path, module in modules.items():
            if compiled and path.startswith(
                    'frame_model') and method not in COMPILED:
                continue
            if re.fullmatch(pattern, path) and hasattr(module, method):
                timer.wrap(module, method, stage)


def watch_functions(timer: StageTimer) -> None:
    """Time what ``FUNCTION_STAGES`` names, as far as it is there.

    Args:
        timer (:obj:`StageTimer`): Its context undoes it.
    """
    for stage, path, name in FUNCTION_STAGES:
        owner = find_owner(path)
        if hasattr(owner, name):
            timer.wrap(owner, name, stage)


def find_owner(path: str) -> Optional[Any]:
    """A module or class of the package.

    Args:
        path (str): ``module`` or ``module:Class``, below refinevis_mm.

    Returns:
        Any: The object, None if there is none.
    """
    module, _, name = path.partition(':')
    try:
        found = importlib.import_module(f'refinevis_mm.{module}')
    except ModuleNotFoundError:
        return None
    return getattr(found, name, None) if name else found
