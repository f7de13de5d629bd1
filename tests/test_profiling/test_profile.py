# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import shutil
from functools import partial

import pytest
import torch
from mmengine.config import Config

from refinevis_mm.models.layers import MultiScaleDeformableAttention
from refinevis_mm.profiling import Profile, ProfileSettings, format_report
from refinevis_mm.profiling.building import COMPILERS
from refinevis_mm.zoo.part_file import CACHE_ENV
from tests.docs_checkout import write_video
from tests.test_profiling.conftest import NO_THRESHOLDS
from tests.tiny_coco import write_coco

NETWORK_SIZE = (64, 64)  # of the video's frames, padded
NETWORK = {'backbone', 'encoder', 'query selection', 'decoder', 'heads'}


def report_of(settings, repeats=2, top=0):
    with Profile(settings) as profile:
        for _ in range(repeats):
            profile.measure()
        return json.loads(json.dumps(profile.report(top)))


def test_a_video_from_file_to_results(tiny, tiny_files):
    """Every stage that a user waits for."""
    report = report_of(
        tiny(
            video=tiny_files[2],
            frames=4,
            outputs=['overlay', 'results'],
            cfg_options=NO_THRESHOLDS),
        top=3)
    assert set(report['stages']) == NETWORK | {
        'decode', 'preprocess', 'frame model', 'association', 'refinement',
        'masks', 'mask resizing', 'RLE', 'drawing', 'video encoding',
        'recording', 'files at the end', 'other', 'total'
    }
    parts = sum(times['median'] for stage, times in report['stages'].items()
                if stage != 'total')
    assert parts == pytest.approx(report['stages']['total']['median'], rel=0.3)
    assert report['frames'] == 4 and report['tracklets'] > 0
    floor = report['arithmetic']
    assert floor['gflop']['total'] == pytest.approx(
        sum(value for stage, value in floor['gflop'].items()
            if stage != 'total'))
    assert floor['floor_ms'] == pytest.approx(
        1000 * floor['gflop']['total'] / report['gflops_per_second']['median'])
    calls = report['operators']
    assert calls['total'] >= sum(calls['stages'].values()) > 500
    assert len(calls['top']) == 3
    text = format_report(report)
    for word in ('| mask resizing ', 'GFLOP a frame', 'calls a frame', 'kept',
                 f'torch {torch.__version__}', 'video: '):
        assert word in text


def test_operations_of_a_frame_are_those_of_one(tiny, tmp_path):
    """Also in batches of eight, which are filled up."""
    write_video(tmp_path / 'clip.mp4', 9)
    video = report_of(tiny(video=str(tmp_path / 'clip.mp4'), frames=9), 1)
    single = report_of(tiny(shape=NETWORK_SIZE), 1)
    ours, theirs = (
        report['arithmetic']['gflop'] for report in (video, single))
    assert ours['backbone'] == pytest.approx(theirs['backbone'])


def test_a_shorter_video_than_asked_for(tiny, tiny_files):
    report = report_of(tiny(video=tiny_files[2], frames=1000), 1)
    assert 0 < report['frames'] < 1000


def test_frames_are_those_of_render_video(tiny, tiny_files):
    """The stages change nothing, and nothing of them is left."""
    settings = tiny(video=tiny_files[2], frames=4, cfg_options=NO_THRESHOLDS)
    sample = MultiScaleDeformableAttention.sample
    threads = torch.get_num_threads()
    with Profile(settings) as profile:
        profile.measure()
        session, model = profile._workload.session, profile.model
        assert 'forward' in vars(model.frame_model.backbone)
        watched = session.preprocess
    assert 'forward' not in vars(model.frame_model.backbone)
    assert session.preprocess != watched
    assert MultiScaleDeformableAttention.sample is sample
    assert torch.get_num_threads() == threads


def test_a_batch_of_frames(tiny):
    alone = report_of(tiny(cfg_options=NO_THRESHOLDS), 1)
    batch = report_of(tiny(batch_size=3, cfg_options=NO_THRESHOLDS), 1)
    assert batch['setup']['batch_size'] == 3
    ours, theirs = (report['arithmetic']['gflop'] for report in (batch, alone))
    assert ours['backbone'] == pytest.approx(theirs['backbone'])


def test_autocast_reaches_the_network(tiny):
    with Profile(tiny(dtype='bfloat16')) as profile:
        seen = []
        profile.model.frame_model.backbone.register_forward_hook(
            lambda module, inputs, outputs: seen.append(outputs[0].dtype))
        profile.measure()
    assert seen == [torch.bfloat16]


def test_the_optimiser_is_that_of_the_config(tiny):
    options = dict(
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1.),
            paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5)))))
    with Profile(tiny(train=True, objects=2, cfg_options=options)) as profile:
        name, before = next(iter(profile.model.state_dict().items()))
        before = before.clone()
        profile.measure()
        report = profile.report()
        after = profile.model.state_dict()[name]
    assert report['unit'] == 'training step'
    # one for each parameter
    assert report['parameter_groups'] > 50
    assert (after - before).abs().max() < 1e-4
    assert {
        'ground truth', 'denoising queries', 'matching', 'losses',
        'association', 'refinement', 'backward', 'optimiser'
    } | NETWORK <= set(report['stages'])
    assert report['operators']['backward_ms']['encoder'] > 0
    flops = report['arithmetic']['gflop']
    assert flops['backward'] > flops['backbone']
    assert 'backward pass by stage: ' in format_report(report)


def test_training_data_of_a_detector(tiny_files, tmp_path):
    """The frame model alone, on single images."""
    classes = ('box', 'bar')
    images = tmp_path / 'images'
    images.mkdir()
    write_coco(tmp_path / 'train.json', images, classes)
    cfg = Config.fromfile(tiny_files[0])
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='refinevis_mm.FrameModelDetector',
                data_preprocessor=dict(
                    type='DetDataPreprocessor',
                    pad_mask=True,
                    pad_size_divisor=32),
                frame_model=cfg.model.frame_model),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='InfiniteSampler'),
                dataset=dict(
                    type='CocoDataset',
                    data_root=f'{tmp_path}/',
                    ann_file='train.json',
                    data_prefix=dict(img='images/'),
                    metainfo=dict(classes=classes),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(
                            type='LoadAnnotations',
                            with_bbox=True,
                            with_mask=True),
                        dict(type='PackDetInputs')
                    ]))))
    cfg.dump(tmp_path / 'detector.py')
    report = report_of(
        ProfileSettings(str(tmp_path / 'detector.py'), train=True, data=True),
        1)
    assert {'data loading', 'losses', 'optimiser'} <= set(report['stages'])


def test_training_data_of_a_config(tiny, tmp_path):
    from tests.tiny_clips import write_rectangles
    write_rectangles(tmp_path)
    loader = dict(
        batch_size=2,
        num_workers=4,
        persistent_workers=True,
        sampler=dict(type='InfiniteSampler'),
        dataset=dict(
            type='refinevis_mm.VISDataset',
            data_root=f'{tmp_path}/',
            ann_file='train.json',
            data_prefix=dict(img_path=''),
            metainfo=dict(classes=('box', 'bar')),
            pipeline=[
                dict(type='refinevis_mm.KeyFirstFrameSample', num_ref_imgs=1),
                dict(
                    type='TransformBroadcaster',
                    transforms=[
                        dict(type='refinevis_mm.LoadFrame'),
                        dict(type='LoadTrackAnnotations', with_mask=True),
                        dict(type='Resize', scale=(64, 64)),
                    ]),
                dict(type='PackTrackInputs')
            ]))
    settings = tiny(
        train=True, data=True, cfg_options=dict(train_dataloader=loader))
    report = report_of(settings, 1)
    assert {'data loading', 'preprocess'} <= set(report['stages'])
    assert report['setup']['data'] == 'refinevis_mm.VISDataset'


@pytest.mark.parametrize('options, message', [
    (dict(data=True), r'data is for training steps \(train\)'),
    (dict(train=True, video='a.mp4'), 'video is for frames, got train'),
    (dict(train=True, runtime='openvino'), 'runtime cannot train'),
    (dict(graphs='folder'), 'graphs are those of a runtime, got none'),
    (dict(runtime='openvino', dtype='bfloat16'), 'computes in float32'),
    (dict(video='a.mp4', tracklets=2), 'tracklets is for random input'),
    (dict(dtype='int8'), "dtype must be one of .*, got 'int8'"),
    (dict(train=True, dtype='float16'), 'float16 needs a GPU'),
    (dict(train=True, data=True), 'must have a "train_dataloader"'),
])
def test_what_does_not_go_together(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        Profile(tiny(**options))


def test_an_absent_video(tiny):
    with pytest.raises(OSError, match='absent.mp4'):
        Profile(tiny(video='absent.mp4'))


@pytest.mark.zoo
@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_exported_graphs(tiny, tiny_files, tmp_path, monkeypatch, runtime):
    """The network is one row; its operations are those of PyTorch."""
    pytest.importorskip(runtime)
    monkeypatch.setenv(CACHE_ENV, str(tmp_path))
    options = dict(video=tiny_files[2], frames=3, cfg_options=NO_THRESHOLDS)
    plain = report_of(tiny(**options), 1)
    report = report_of(tiny(runtime=runtime, threads=1, **options), 1)
    assert report['setup']['runtime'] == runtime
    assert 'backbone' not in report['stages']
    assert {
        'decode', 'preprocess', 'frame model', 'heads', 'masks', 'refinement'
    } <= set(report['stages'])
    assert report['arithmetic']['gflop']['total'] == pytest.approx(
        plain['arithmetic']['gflop']['total'])
    assert report['operators']['total'] < plain['operators']['total']


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason='compiler')
def test_compiled(tiny, monkeypatch):
    # the same frames are traced; the minute of C++ compilation is PyTorch's
    monkeypatch.setattr(torch, 'compile',
                        partial(torch.compile, backend='eager'))
    report = report_of(tiny(compile=True), 1)
    assert {'frame model', 'association'} <= set(report['stages'])
    assert not NETWORK & set(report['stages']) - {'heads'}
    assert report['arithmetic']['gflop']['backbone'] > 0


def test_no_compiler(tiny, monkeypatch):
    monkeypatch.setattr('refinevis_mm.profiling.building.COMPILERS', ('no', ))
    with pytest.raises(OSError, match='needs a C.. compiler, found none'):
        Profile(tiny(compile=True))
