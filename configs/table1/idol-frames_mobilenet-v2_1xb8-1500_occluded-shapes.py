# First phase of the small IDOL and SeqFormer: single frames, as theirs is
# COCO. There is nothing to associate yet.
_base_ = [
    '../_base_/models/idol_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes_frames.py',
    '../_base_/schedules/schedule_small_1500_idol.py',
    '../_base_/small_runtime.py'
]

model = dict(
    association_head=None,
    pair_selector=None,
    tracker=dict(_delete_=True, type='refinevis_mm.StreamingTracker'))
