# Clips with the large-scale jittering of MaskDINO: every number of it, for
# both backbones (paper Sec. 4.1).
_base_ = ['./clip_meta_keys.py']

backend_args = None
num_frames = 2  # of a training clip
frame_range = 10  # largest distance of its frames

# side of the padded training frames, (long, short) side at test
sizes = dict(
    r50=dict(train=1024, test=(1333, 480)),
    swin_l=dict(train=1280, test=(1333, 720)))

frame_transforms = {
    backbone: [
        dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
        dict(type='LoadTrackAnnotations', with_mask=True),
        dict(type='RandomFlip', prob=0.5),
        dict(
            type='RandomResize',
            scale=(size['train'], size['train']),
            ratio_range=(0.1, 2.0),
            resize_type='Resize',
            keep_ratio=True,
            backend='pillow'),
        dict(
            type='RandomCrop',
            crop_size=(size['train'], size['train']),
            crop_type='absolute',
            allow_negative_crop=True,
            recompute_bbox=True),
        dict(type='refinevis_mm.FilterTrackAnnotations'),
        dict(
            type='Pad',
            size=(size['train'], size['train']),
            pad_val=dict(img=128, masks=0)),
    ]
    for backbone, size in sizes.items()
}

# `video`: one jitter for the clip; `pseudo_video`: one for each frame
clip_pipelines = {
    kind: {
        backbone: [
            dict(
                type='refinevis_mm.KeyFirstFrameSample',
                num_ref_imgs=num_frames - 1,
                frame_range=frame_range),
            dict(
                type='TransformBroadcaster',
                share_random_params=kind == 'video',
                transforms=transforms),
            dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
        ]
        for backbone, transforms in frame_transforms.items()
    }
    for kind in ('video', 'pseudo_video')
}

test_pipelines = {
    backbone: [
        dict(
            type='TransformBroadcaster',
            transforms=[
                dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
                dict(
                    type='Resize',
                    scale=size['test'],
                    keep_ratio=True,
                    backend='pillow'),
            ]),
        dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
    ]
    for backbone, size in sizes.items()
}
