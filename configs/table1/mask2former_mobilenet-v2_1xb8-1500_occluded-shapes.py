# First phase of the small MinVIS and VITA: single frames, as theirs is COCO.
_base_ = [
    '../_base_/models/minvis_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes_frames.py',
    '../_base_/schedules/schedule_small_1500_mask2former.py',
    '../_base_/small_runtime.py'
]
