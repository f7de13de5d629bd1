# Any data set in YouTube-VIS form: set `data_root`, the files and the number
# of classes, as in refinevis_mobilenet-v2_2xb2-5k_custom-vis.py. Training
# starts from the weights trained on COCO, which rfdetr fetches. The rates are
# not tuned.
_base_ = [
    '../_base_/models/rfdetr-seg_refinevis.py',
    '../_base_/datasets/custom_vis_square.py',
    '../_base_/schedules/schedule_small.py', '../_base_/default_runtime.py'
]

optim_wrapper = dict(
    optimizer=dict(lr=2e-4, weight_decay=1e-4),  # RF-DETR's decay
    paramwise_cfg=dict(
        custom_keys={
            # the first key found in a name counts, the longest first
            'frame_model.network.backbone': dict(lr_mult=0.1),
            'frame_model': dict(lr_mult=0.25)
        }))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
