# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the tools that render a video share: options, progress, summary."""
import argparse

import numpy as np
import pytest

from refinevis_mm.apis import VISInferencer, command_line
from refinevis_mm.apis.command_line import (INTERRUPTED, Progress,
                                            add_render_arguments, render_with,
                                            report_render)
from refinevis_mm.apis.outputs import DEFAULT_OUTPUTS, OUTPUTS
from refinevis_mm.apis.render import RenderedVideo, RenderStopped
from refinevis_mm.video_io import open_source
from tests.tiny_detectors import CLASSES, TRACKER, find_squares, squares


def parse(*words):
    parser = argparse.ArgumentParser()
    add_render_arguments(parser)
    return parser.parse_args(list(map(str, words)))


def test_defaults():
    assert vars(parse('--out-dir', 'out')) == dict(
        out_dir='out',
        outputs=list(DEFAULT_OUTPUTS),
        score_thr=0.3,
        device='cpu',
        resume=False,
        checkpoint_every=200)


def test_all_options():
    args = parse('--out-dir', 'out', '--outputs', *OUTPUTS, '--score-thr', 0.5,
                 '--device', 'cuda:1', '--resume', '--checkpoint-every', 7)
    assert vars(args) == dict(
        out_dir='out',
        outputs=list(OUTPUTS),
        score_thr=0.5,
        device='cuda:1',
        resume=True,
        checkpoint_every=7)


@pytest.mark.parametrize('words, reason', [
    ([], 'required: --out-dir'),
    (['--out-dir', 'out', '--outputs', 'gif'], "invalid choice: 'gif'"),
    (['--out-dir', 'out', '--outputs'], 'expected at least one argument'),
])
def test_bad_options(words, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(*words)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_help_names_all_files():
    parser = argparse.ArgumentParser()
    add_render_arguments(parser)
    text = ' '.join(parser.format_help().split())
    for name, output in OUTPUTS.items():
        assert f'{name} ({output.file})' in text


def test_progress(capsys):
    progress = Progress(4)
    progress.start(1)
    progress.update()
    progress.update()
    assert progress.num_frames == 3
    captured = capsys.readouterr()
    assert '2/3' in captured.err and captured.out == ''


def test_progress_of_a_complete_video(capsys):
    Progress(4).start(4)
    assert capsys.readouterr() == ('', '')


@pytest.fixture
def inferencer():
    return VISInferencer.from_segmenter(find_squares, CLASSES, **TRACKER)


def test_options_reach_the_rendering(inferencer, monkeypatch, tmp_path,
                                     capsys):
    seen = {}

    def render_video(*args, on_start, on_frame, **kwargs):
        seen.update(kwargs, args=args)
        on_start(1)
        on_frame()
        return 'made'

    monkeypatch.setattr(command_line, 'render_video', render_video)
    source = open_source(squares(4))
    source.num_frames = 4
    args = parse('--out-dir', tmp_path, '--outputs', 'csv', '--score-thr', 0.5,
                 '--resume', '--checkpoint-every', 7)
    assert render_with(inferencer, source, args, title='A') == 'made'
    session, *rest = seen.pop('args')
    assert session.model is inferencer.model
    assert rest == [source, str(tmp_path), ['csv']]
    assert seen == dict(
        title='A', score_thr=0.5, resume=True, checkpoint_every=7)
    error = capsys.readouterr().err
    assert '1/3' in error and error.endswith('\n')


def test_progress_ends_its_line_on_errors(inferencer, tmp_path, capsys):
    frames = squares(2) + ['no image']
    args = parse('--out-dir', tmp_path / 'out', '--outputs', 'csv')
    with pytest.raises(ValueError, match='got str'):
        render_with(inferencer, open_source(iter(frames)), args)
    assert capsys.readouterr().err == '\r1 frames\r2 frames\n'
    assert not list(tmp_path.glob('out/*'))


def parse_csv(*words):
    parser = argparse.ArgumentParser()
    add_render_arguments(parser, 'csv')
    return parser.parse_args(list(map(str, words)))


def test_one_output_under_a_name_of_its_own(inferencer, tmp_path, capsys):
    other = tmp_path / 'recording.sqlite'  # of another run, stays
    other.write_text('other')
    out = tmp_path / 'new' / 'mine.csv'
    args = parse_csv('--out', out)
    made = render_with(inferencer, open_source(np.stack(squares(3))), args)
    assert made.files == [str(out)] and made.num_frames == 3
    args = parse('--out-dir', tmp_path / 'out', '--outputs', 'csv')
    render_with(inferencer, open_source(np.stack(squares(3))), args)
    expected = tmp_path / 'out' / 'tracks.csv'
    assert out.read_bytes() == expected.read_bytes()
    # a link stays one, and nothing but the file changes in its folder
    link = tmp_path / 'link.csv'
    link.symlink_to(out)
    render_with(inferencer, open_source(np.stack(squares(2))),
                parse_csv('--out', link))
    assert link.is_symlink()
    assert len(out.read_text()) < len(expected.read_text())
    assert list(out.parent.iterdir()) == [out]
    assert other.read_text() == 'other'


def test_a_stopped_output_goes_on(inferencer, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'mine.csv'
    out.write_text('old')
    source = open_source(np.stack(squares(9)))
    args = parse_csv('--out', out, '--checkpoint-every', 2)

    def fail(progress):
        progress.num_frames += 1
        if progress.num_frames == 5:
            raise OSError('unplugged')

    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'update', fail)
        with pytest.raises(OSError, match='unplugged'):
            render_with(inferencer, source, args)
    assert out.read_text() == 'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        '.mine.csv.partial', 'mine.csv'
    ]
    args.resume = True
    made = render_with(inferencer, source, args)
    assert (made.num_frames, made.num_rendered) == (9, 5)
    assert list(tmp_path.iterdir()) == [out]
    rest, out = out.read_text(), tmp_path / 'whole.csv'
    render_with(inferencer, source, parse_csv('--out', out))
    assert out.read_text() == rest


def video(**changes):
    return RenderedVideo(**dict(
        dict(
            files=['out/a', 'out/b'],
            num_frames=8,
            num_rendered=5,
            seconds=2.0,
            num_tracks=3,
            num_shown=1), **changes))  # yapf: disable


@pytest.mark.parametrize('num_rendered, speed', [(5, '2.5 frames/s'),
                                                 (0, 'complete already')])
def test_summary(num_rendered, speed, capsys):
    report_render(lambda: video(num_rendered=num_rendered), 0.25)
    assert capsys.readouterr().out.splitlines() == [
        f'8 frames, {speed}, 3 tracks, 1 of them with a score of at least '
        '0.25', 'out/a', 'out/b'
    ]


@pytest.mark.parametrize('error, said', [
    (RenderStopped('stopped after 3 frames'),
     'stopped after 3 frames; go on with --resume'),
    (KeyboardInterrupt(), 'interrupted'),
])
def test_interrupts(error, said, capsys):

    def render():
        raise error

    with pytest.raises(SystemExit) as stop:
        report_render(render, 0.3)
    assert stop.value.code == INTERRUPTED == 130
    assert capsys.readouterr() == ('', f'{said}\n')


def test_other_errors_pass():

    def render():
        raise ValueError('bad input')

    with pytest.raises(ValueError, match='bad input'):
        report_render(render, 0.3)
