# Small SeqFormer.
_base_ = ['./seqformer_r50.py', './condinst_mobilenet-v2.py']

model = dict(frame_model=_base_.small_frame_model)
