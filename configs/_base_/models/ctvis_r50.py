# CTVIS (https://arxiv.org/abs/2307.12616): Mask2Former with a contrastive head
# and the tracker of IDOL with a memory guided by similarity. The numbers are
# those of the official test; it is not trained here.
_base_ = ['./mask2former_r50_streaming.py']

num_classes = 40
embed_dims = 256
match_score_thr = 0.3

model = dict(
    frame_model=dict(
        head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]))),
    association_head=dict(
        _delete_=True,
        type='refinevis_mm.ContrastiveHead',
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims),
    normed_association=True,
    pair_selector=dict(_delete_=True, type='refinevis_mm.OTAPairSelector'),
    tracker=dict(
        _delete_=True,
        type='refinevis_mm.ContrastiveTracker',
        select_score_thr=0.01,
        box_nms_thr=1.0,  # there is no box NMS
        mask_nms_thr=0.6,
        init_score_thr=0.01,
        new_score_thr=0.01,
        match_score_thr=match_score_thr,
        frame_weight_thr=match_score_thr,
        memory_type='similarity',
        memory_len=10,
        num_frames_retain=20),
    # as many (object, class) pairs of a video as classes, whatever their score
    score_average='logits',
    cls_thr=0.0,
    max_per_video=num_classes)
