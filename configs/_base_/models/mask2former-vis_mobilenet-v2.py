# Small Mask2Former-VIS: mmdet's, of the parts of
# mask2former_mobilenet-v2_refinevis.py.
_base_ = ['./mask2former_mobilenet-v2_refinevis.py']

num_classes = 7
frame_model = _base_.model.frame_model
track_head = frame_model.head
track_head.update(
    type='refinevis_mm.TARMask2FormerTrackHead',
    num_classes=num_classes,
    num_frames=2)
track_head.pop('num_things_classes')
track_head.pop('num_stuff_classes')
track_head.positional_encoding.update(type='SinePositionalEncoding3D')

model = dict(
    _delete_=True,
    type='refinevis_mm.TARMask2FormerVideo',  # without TAR: mmdet's
    window=0,
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=frame_model.backbone,
    track_head=track_head)
del frame_model, track_head
