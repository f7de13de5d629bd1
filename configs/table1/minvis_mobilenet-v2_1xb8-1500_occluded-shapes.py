# Small MinVIS: single frames once more, with a schedule of its own.
_base_ = ['./mask2former_mobilenet-v2_1xb8-1500_occluded-shapes.py']

load_from = \
    'work_dirs/mask2former_mobilenet-v2_1xb8-1500_occluded-shapes/' \
    'iter_1500.pth'
