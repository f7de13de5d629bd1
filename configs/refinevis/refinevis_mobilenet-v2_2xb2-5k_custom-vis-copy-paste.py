# With occlusion augmentation: objects of other training clips are pasted into
# a clip, before the jitter. The data set is wrapped: set its `data_root` and
# files at `train_dataloader.dataset.dataset`.
_base_ = ['./refinevis_mobilenet-v2_2xb2-5k_custom-vis.py']

# sample; load and jitter; pack
sample, transforms, pack = _base_.train_pipeline
load, jitter = transforms.transforms[:2], transforms.transforms[2:]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            type=_base_.dataset_type,
            data_root=_base_.data_root,
            ann_file=_base_.train_ann_file,
            data_prefix=dict(img_path=_base_.train_img_prefix),
            backend_args=_base_.backend_args,
            pipeline=[
                sample,
                dict(type='TransformBroadcaster', transforms=load)
            ]),
        pipeline=[
            dict(
                type='refinevis_mm.VideoCopyPaste',
                prob=0.5,
                max_clips=2,
                max_tracks=3,
                scale_range=(0.4, 1.2),
                flip_prob=0.5,
                aim_prob=0.5,
                behind_prob=0.25),
            dict(
                type='TransformBroadcaster',
                share_random_params=True,
                transforms=jitter), pack
        ]))
