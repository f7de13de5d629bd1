# Second of the three phases of RefineVIS Swin-L: COCO images as two-frame
# videos. Starts from the checkpoint of ../maskdino's
# maskdino_swin-l_refinevis-phase1_16xb1-lsj-50e_coco.py
_base_ = [
    '../_base_/models/refinevis_swin-l.py',
    '../_base_/datasets/coco_pseudo_video_lsj.py',
    '../_base_/schedules/schedule_coco-pseudo_30k_swin-l.py',
    '../_base_/phase_runtime.py'
]

load_from = 'work_dirs/maskdino_swin-l_refinevis-phase1_16xb1-lsj-50e_coco/' \
    'iter_368750.pth'

num_classes = 80
model = dict(
    frame_model=dict(
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)))

train_dataloader = dict(
    dataset=dict(pipeline=_base_.clip_pipelines.pseudo_video.swin_l))
