# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A test run that is killed and continued, each in its own process."""
import json
import os
import os.path as osp
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from refinevis_mm.files import one_run

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
LENGTHS = {4: 2, 9: 3, 2: 2, 30: 1}  # frames by video id, in file order

MODULE = '''
import os
import signal
import refinevis_mm
import torch
from mmdet.structures import TrackDataSample
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from refinevis_mm.structures import VideoResult


@MODELS.register_module()
class BrightPixels(BaseModel):
    """Finds what is bright and is killed where the environment says."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        sample = data_samples[0]
        meta = sample[0].metainfo
        name = '{video_id}:{frame_id}'.format(**meta)
        with open('frames.log', 'a') as log:
            print(name, file=log)
        if os.environ.get('KILL_AT') == name:
            os.kill(os.getpid(), signal.SIGKILL)
        if meta['frame_id'] == 0:
            self.result = VideoResult(meta['video_length'])
        image = inputs['img'][0] if isinstance(inputs, dict) else inputs[0]
        mask = image[0].float().mean(0, keepdim=True) > self.level
        score = torch.tensor([[0.3 + meta['frame_id'] / 7]])
        self.result.add_frame(meta['frame_id'], [0], score,
                              torch.ones(1).bool(), mask)
        if meta['frame_id'] == meta['video_length'] - 1:
            sample.set_metainfo(dict(
                video_id=meta['video_id'],
                pred_tracklets=self.result.tracklets()))
        return data_samples
'''

CONFIG = '''
custom_imports = dict(imports=['toy_module'])
default_scope = 'mmdet'
model = dict(type='BrightPixels')
meta_keys = ('frame_id', 'video_id', 'video_length', 'ori_shape')
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='refinevis_mm.WholeVideoSampler'),
    dataset=dict(
        type='refinevis_mm.VISDataset',
        ann_file='gt.json',
        data_prefix=dict(img_path='frames/'),
        test_mode=True,
        pipeline=[
            dict(
                type='TransformBroadcaster',
                transforms=[dict(type='refinevis_mm.LoadFrame')]),
            dict(type='PackTrackInputs', default_meta_keys=meta_keys)
        ]))
test_cfg = dict(type='TestLoop')
test_evaluator = dict(
    type='refinevis_mm.VISMetric', ann_file='gt.json', outfile_prefix='out')
'''


def counts(left):
    """Uncompressed RLE of a bar in columns left and left + 1 of 16 x 8."""
    return [8 * left, 16, 128 - 8 * left - 16]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Data, config and checkpoint; ``whole.json`` has the expected results."""
    path = tmp_path_factory.mktemp('resume')
    (path / 'toy_module.py').write_text(MODULE)
    (path / 'config.py').write_text(CONFIG)
    gt = dict(videos=[], annotations=[], categories=[dict(id=3, name='bar')])
    for video_id, length in LENGTHS.items():
        names = [f'{video_id}/{frame}.png' for frame in range(length)]
        gt['videos'].append(
            dict(
                id=video_id,
                width=16,
                height=8,
                length=length,
                file_names=names))
        (path / 'frames' / str(video_id)).mkdir(parents=True)
        for frame, name in enumerate(names):
            image = np.zeros((8, 16, 3), np.uint8)
            image[:, frame:frame + 2] = 255
            cv2.imwrite(str(path / 'frames' / name), image)
        gt['annotations'].append(
            dict(
                id=video_id,
                video_id=video_id,
                category_id=3,
                iscrowd=0,
                areas=[16] * length,
                segmentations=[
                    dict(size=[8, 16], counts=counts(frame))
                    for frame in range(length)
                ]))
    (path / 'gt.json').write_text(json.dumps(gt))
    torch.save(
        dict(state_dict=dict(level=torch.full((1, ), 99.))), path / 'a.pth')
    torch.save(
        dict(state_dict=dict(level=torch.full((1, ), 98.))), path / 'b.pth')
    done, frames = run(path)
    assert done.returncode == 0, done.stderr
    assert frames == [
        f'{video_id}:{frame}' for video_id, length in LENGTHS.items()
        for frame in range(length)
    ]
    (path / 'out.json').rename(path / 'whole.json')
    return path


def run(folder, *args, checkpoint='a.pth', kill_at=''):
    """Run the test; returns the process and the frames that it looked at."""
    env = dict(os.environ, OMP_NUM_THREADS='1', KILL_AT=kill_at)
    env['PYTHONPATH'] = os.pathsep.join([str(folder), ROOT])
    env.pop('LOCAL_RANK', None)
    log = Path(folder, 'frames.log')
    log.unlink(missing_ok=True)
    done = subprocess.run([
        sys.executable,
        osp.join(ROOT, 'tools', 'test.py'), 'config.py', checkpoint,
        '--work-dir', 'run', *args
    ],
                          cwd=folder,
                          env=env,
                          capture_output=True,
                          text=True)
    return done, log.read_text().split() if log.exists() else []


@pytest.mark.slow
def test_killed_run_continues(folder):
    done, frames = run(folder, '--resume', kill_at='9:1')
    assert done.returncode == -signal.SIGKILL
    assert frames == ['4:0', '4:1', '9:0', '9:1']
    assert not (folder / 'out.json').exists()
    done, frames = run(folder, '--resume')
    assert done.returncode == 0, done.stderr
    assert frames == ['9:0', '9:1', '9:2', '2:0', '2:1', '30:0']
    whole = json.loads((folder / 'whole.json').read_text())
    assert json.loads((folder / 'out.json').read_text()) == whole
    assert [row['video_id'] for row in whole] == list(LENGTHS)
    assert 'vis/AP: 1.0000' in done.stdout

    # a finished run has nothing to do; other weights are refused
    done, frames = run(folder, '--resume')
    assert done.returncode == 0 and not frames
    assert json.loads((folder / 'out.json').read_text()) == whole
    done, frames = run(folder, '--resume', checkpoint='b.pth')
    assert done.returncode == 1 and not frames
    assert 'another checkpoint or config' in done.stderr


@pytest.mark.slow
def test_shares_and_a_last_run(folder):
    """The numbers come of the videos of all tasks."""
    looked_at = []
    for shard in ('1/3', '2/3', '3/3'):
        done, frames = run(folder, '--resume', 'shares', '--shard', shard)
        assert done.returncode == 0, done.stderr
        assert 'vis/AP' not in done.stdout
        looked_at.append({name.split(':')[0] for name in frames})
    # the longest first, to whom has the fewest frames
    assert looked_at == [{'9'}, {'4', '30'}, {'2'}]
    done, frames = run(folder, '--resume', 'shares')
    assert done.returncode == 0 and not frames
    assert 'vis/AP: 1.0000' in done.stdout
    whole = json.loads((folder / 'whole.json').read_text())
    assert json.loads((folder / 'out.json').read_text()) == whole


@pytest.mark.parametrize('args, match', [
    (['--shard', '1/3'], '--shard needs --resume'),
    (['--resume', '--shard', '0/3'], "with I from 1 to N, got '0/3'"),
    (['--resume', '--shard', 'all'], "got 'all'"),
])
def test_shares_that_cannot_be(folder, args, match):
    done, frames = run(folder, *args)
    assert done.returncode == 2 and not frames
    assert match in done.stderr


def test_second_run_is_refused(folder):
    with one_run(folder / 'taken'):
        done, frames = run(folder, '--resume', 'taken')
    assert done.returncode == 1 and not frames
    assert 'taken" is used by another run' in done.stderr


@pytest.mark.parametrize('args, match', [
    (['--out', 'a.pkl'], '--out needs the predictions of all videos'),
    (['--cfg-options', 'test_dataloader.sampler.type=DefaultSampler'
      ], 'needs WholeVideoSampler, got DefaultSampler'),
    (['--cfg-options', 'test_evaluator.type=CocoMetric'
      ], 'needs VISMetric alone'),
])
def test_refusals(folder, args, match):
    done, frames = run(folder, '--resume', 'elsewhere', *args)
    assert done.returncode == 1 and not frames
    assert match in done.stderr and 'Traceback' not in done.stderr
    assert not (folder / 'elsewhere').exists()
