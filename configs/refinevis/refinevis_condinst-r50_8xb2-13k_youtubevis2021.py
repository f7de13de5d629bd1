# Data and schedule as with Mask2Former; the frame model starts from IDOL's
# weights of COCO pseudo-videos (`load_from`, see ../idol/README.md).
_base_ = [
    '../_base_/models/condinst_r50_refinevis.py',
    '../_base_/datasets/youtubevis2021_lsj.py',
    '../_base_/schedules/schedule_vis_13k.py', '../_base_/phase_runtime.py'
]

train_dataloader = dict(batch_size=2)  # x 8 GPUs: 16 clips, paper Sec. 4.1
