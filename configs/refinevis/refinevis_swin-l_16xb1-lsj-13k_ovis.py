# Last of the three phases of RefineVIS Swin-L. Starts from
# refinevis_swin-l_16xb1-lsj-30k_coco-pseudo.py; class rows are copied by name.
_base_ = [
    '../_base_/models/refinevis_swin-l.py', '../_base_/datasets/ovis_lsj.py',
    '../_base_/schedules/schedule_vis_13k_swin-l.py',
    '../_base_/phase_runtime.py'
]

load_from = 'work_dirs/refinevis_swin-l_16xb1-lsj-30k_coco-pseudo/' \
    'iter_30000.pth'

num_classes = 25
model = dict(
    frame_model=dict(
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)),
    # IDOL's values for OVIS; the defaults are those for YouTube-VIS
    tracker=dict(mask_nms_thr=0.3, new_score_thr=0.3))

train_dataloader = dict(
    dataset=dict(pipeline=_base_.clip_pipelines.video.swin_l))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipelines.swin_l))
test_dataloader = val_dataloader
