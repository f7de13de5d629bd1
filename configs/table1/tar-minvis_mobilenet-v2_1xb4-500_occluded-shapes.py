# TAR after MinVIS (paper Table 7): all its queries, followed by QueryMatcher.
_base_ = [
    '../_base_/models/mask2former_mobilenet-v2_refinevis.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small_500.py', '../_base_/small_runtime.py'
]

train_dataloader = dict(batch_size=4)

model = dict(
    frame_loss_on='first',
    association_head=None,
    pair_selector=None,
    tracker=dict(_delete_=True, type='refinevis_mm.QueryMatcher'),
    tar_head=dict(drop_prob=0.3, recursive_prob=0.5),
    score_average='logits',
    cls_thr=0.0,
    max_per_video=10)

load_from = \
    'work_dirs/minvis_mobilenet-v2_1xb8-1500_occluded-shapes/iter_1500.pth'
