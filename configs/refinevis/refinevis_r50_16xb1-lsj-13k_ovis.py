# Last of the three phases of RefineVIS R50. Starts from
# refinevis_r50_16xb1-lsj-30k_coco-pseudo.py; class rows are copied by name.
_base_ = [
    '../_base_/models/refinevis_r50.py', '../_base_/datasets/ovis_lsj.py',
    '../_base_/schedules/schedule_vis_13k.py', '../_base_/phase_runtime.py'
]

load_from = 'work_dirs/refinevis_r50_16xb1-lsj-30k_coco-pseudo/' \
    'iter_30000.pth'

num_classes = 25
model = dict(
    frame_model=dict(
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)),
    # IDOL's values for OVIS; the defaults are those for YouTube-VIS
    tracker=dict(mask_nms_thr=0.3, new_score_thr=0.3))
