# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The HTML report, read and used in a real browser."""
import json
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.evaluation import evaluate_tracking, evaluate_vis
from refinevis_mm.recording import VideoRecording
from refinevis_mm.visualization import (FrameSpool, categories_of, check_fits,
                                        check_origin, instance_color,
                                        select_video, write_report,
                                        write_results_report)
from tests.browser import emulate, open_chromium, open_page
from tests.tiny_recordings import CLASSES, ResultStream, box

SIZE = HEIGHT, WIDTH = 60, 80
VIEWS = ('frame_level', 'offline', 'online')  # the last is the main one
NUM_FRAMES = 12
HOSTILE = '</script><img src=x onerror="document.title=\'run\'"><!--<script>'


def color_of(frame):
    """Colour of all pixels of a frame, BGR."""
    return np.array([20 * frame, 100, 240 - 15 * frame])


def image_of(frame):
    return np.full((*SIZE, 3), color_of(frame), np.uint8)


def square(left, top):
    return box(left, top, 20, SIZE)


def rows_of(frame):
    """Objects of a frame by view: (id, class scores, detected, mask).

    Id 0, a cat, is lost in frame 5: frame-level misses it, online finds it
    where it was and offline elsewhere. Id 3, a dog, lives in frames 2 to 9.
    The score of id 4 is too low for a report.
    """
    views = {}
    for view in VIEWS:
        cat = (0, [0.9, 0.05, 0.05], True, square(10, 10))
        if frame == 5:
            found = dict(online=square(10, 10), offline=square(30, 10))
            cat = (0, [0.] * 3, False, found.get(view))
        dog = (3, [0.1, 0.6, 0.2], True, square(50, 30))
        owl = (4, [0.05, 0.05, 0.1], True, square(0, 40))
        views[view] = [cat, *([dog] if 2 <= frame < 10 else []), owl]
    return views


def record(path, classes=CLASSES, rows=rows_of, num=NUM_FRAMES):
    """A recording of the frames; 10 frames a second."""
    stream = ResultStream(VIEWS, SIZE)
    recording = VideoRecording.create(path, classes, SIZE, 10., VIEWS,
                                      VIEWS[-1], {})
    for frame in range(num):
        recording.add(stream.frame(rows(frame)))
    recording.finish()
    return recording


def ground_truth(names=('cat', 'dog')):
    """The cat, in frame 5 where it was, and the dog from frame 4 on."""

    def code(mask):
        rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
        return dict(rle, counts=rle['counts'].decode())

    cat, dog = code(square(10, 10)), code(square(50, 30))
    tubes = [cat] * 12, [None] * 4 + [dog] * 3 + [None] + [dog] * 3 + [None]
    return dict(
        videos=[
            dict(
                id=7,
                width=WIDTH,
                height=HEIGHT,
                length=NUM_FRAMES,
                file_names=[f'clip/{k}.jpg' for k in range(NUM_FRAMES)])
        ],
        categories=[
            dict(id=20 + 10 * k, name=name) for k, name in enumerate(names)
        ],
        annotations=[
            dict(
                id=k + 1,
                video_id=7,
                category_id=20 + 10 * k,
                iscrowd=0,
                areas=[mask and 400 for mask in tube],
                segmentations=tube) for k, tube in enumerate(tubes)
        ])


def images(num=NUM_FRAMES):
    return [image_of(frame) for frame in range(num)]


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with open_chromium(tmp_path_factory.mktemp('profile')) as browser:
        yield browser


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp('recording') / 'recording.sqlite'
    with record(path) as recording:
        yield recording


@pytest.fixture(scope='module')
def report(recording, tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_report(path, images(), recording, 'A clip',
                 dict(Config='some_config'), ground_truth())
    return path


class Page:
    """A report that is open in the browser, and what one does with it."""

    def __init__(self, browser, path):
        # selenium may be missing; the fixture of the browser skips then
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys
        self.browser = browser
        self.keys = Keys
        self.actions = lambda: ActionChains(browser, duration=0)
        open_page(browser, path)
        self.wait_for(0)

    def find(self, selector):
        return self.browser.find_element('css selector', selector)

    def find_all(self, selector):
        return self.browser.find_elements('css selector', selector)

    def texts(self, selector):
        return [element.text for element in self.find_all(selector)]

    def run(self, script, *args):
        return self.browser.execute_script(script, *args)

    @property
    def frame(self):
        """The frame that is on the canvas."""
        shown = self.run('return canvas.dataset.frame')
        return None if shown is None else int(shown)

    def wait_for(self, frame):
        for _ in range(500):
            if self.frame == frame:
                return
            time.sleep(0.01)
        raise AssertionError(f'frame {frame} is not shown, but {self.frame}')

    def press(self, *keys):
        self.actions().send_keys(*keys).perform()

    def focused(self):
        return self.run('const element = document.activeElement; return '
                        'element.id || element.ariaLabel || '
                        'element.innerText.trim()')

    def view(self):
        """The chosen view, and what the canvas says of it."""
        chosen = self.run('return document.querySelector('
                          '"#views input:checked").value')
        return chosen, self.run('return canvas.ariaLabel')

    def pixels(self, canvas, left, top, right, bottom):
        """Part of a canvas, edges in its own pixels: (H, W, 4), RGBA."""
        width, height = right - left, bottom - top
        data = self.run(
            'const [canvas, left, top, width, height] = arguments;'
            'const copy = new OffscreenCanvas(width, height).getContext("2d");'
            'copy.drawImage(canvas, -left, -top);'
            'return [...copy.getImageData(0, 0, width, height).data]', canvas,
            left, top, width, height)
        return np.array(data).reshape(height, width, 4)

    def pixel(self, x, y):
        """Colour of the canvas in a pixel of the frame, BGR."""
        canvas = self.find('#canvas')
        scale = canvas.get_property('width') / WIDTH
        x, y = int((x + 0.5) * scale), int((y + 0.5) * scale)
        (((*rgb, alpha), ), ) = self.pixels(canvas, x, y, x + 1, y + 1)
        assert alpha == 255
        return np.array(rgb[::-1])

    def assert_pixel(self, x, y, frame, track_id=None, share=0.45):
        """The pixel has the frame's colour, tinted if it is of a track."""
        expected = color_of(frame).astype(float)
        if track_id is not None:
            tint = np.array(instance_color(track_id))
            expected += share * (tint - expected)
        assert np.abs(self.pixel(x, y) - expected).max() < 6

    def point(self, selector, x, y, click=False):
        """Move the mouse to a place of an element, (0, 0) to (1, 1)."""
        element = self.find(selector)
        self.run('arguments[0].scrollIntoView({block: "center"})', element)
        size = element.size
        actions = self.actions().move_to_element_with_offset(
            element, round(size['width'] * (x - 0.5)),
            round(size['height'] * (y - 0.5)))
        (actions.click() if click else actions).perform()

    def point_at(self, x, y, click=False):
        """Move the mouse to a pixel of the frame."""
        self.point('#canvas', (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT, click)


@pytest.fixture
def open_report(browser):
    """Open a report; nothing was loaded or complained about at the end."""
    emulate(browser, 1280, 1000)
    yield lambda path: Page(browser, path)
    assert browser.execute_script(
        'return performance.getEntriesByType("resource").length') == 0
    assert browser.get_log('browser') == []


@pytest.fixture
def page(open_report, report):
    return open_report(report)


def test_first_look(page):
    assert page.find('h1').text == page.browser.title == 'A clip'
    assert page.texts('#facts li') == [
        'Config some_config', 'Frames 12 at 10 fps', 'Size 80 × 60'
    ]
    assert page.texts('#views label') == [
        'Frame level', 'Offline', 'Online', 'Ground truth'
    ]
    assert page.view() == ('online', 'Frame 0, Online, 1 objects')
    page.assert_pixel(20, 20, 0, track_id=0)
    page.assert_pixel(60, 40, 0)
    assert page.texts('#objects li') == ['0 cat\n0.90\ndetected']


def test_slider(page):
    page.point('#slider', 0.98, 0.5, click=True)
    page.wait_for(11)
    page.assert_pixel(60, 40, 11)
    page.point('#slider', 0.5, 0.5, click=True)
    half = int(page.find('#slider').get_property('value'))
    assert half in (5, 6)
    page.wait_for(half)
    page.assert_pixel(5, 5, half)
    page.assert_pixel(60, 40, half, track_id=3)
    assert page.find('#position').text == f'{half} / 11 · 0.{half}0 s'
    assert page.find('#slider').get_attribute(
        'aria-valuetext') == f'{half} of 11, 0.{half}0 seconds'


def test_views_change_the_masks(page):
    page.run('refinevisReport.show(5)')
    page.wait_for(5)
    expected = dict(Online=(0, None), Offline=(None, 0))
    for name in ('Offline', 'Frame level', 'Online', 'Ground truth'):
        label, = [
            label for label in page.find_all('#views label')
            if label.text == name
        ]
        label.click()
        assert page.view()[1].startswith(f'Frame 5, {name}, ')
        here, there = expected.get(name, (None, None))
        if name == 'Ground truth':
            here = 0
        page.assert_pixel(15, 20, 5, track_id=here)
        page.assert_pixel(45, 20, 5, track_id=there)
    # the dog, not at its edges
    page.assert_pixel(60, 40, 5, track_id=1)
    assert page.texts('#objects li') == [
        '0 cat\nannotated', '1 dog\nannotated'
    ]


def test_hover(page):
    tip, info = page.find('#tip'), page.find('#info')
    assert info.text == 'Online: each frame refined from the past'
    page.point_at(20, 20)
    assert tip.text == info.text == 'id 0 · cat · 0.90 · detected'
    page.assert_pixel(20, 20, 0, track_id=0, share=0.65)
    # the pointer rests while the frames and views change
    page.press(*[page.keys.ARROW_RIGHT] * 5)
    page.wait_for(5)
    assert tip.text == info.text == 'id 0 · cat · 0.90 · recovered'
    page.press('1')
    assert not tip.is_displayed()
    assert page.texts('#objects li')[0] == '0 cat\n0.90\nmissed'
    page.point_at(60, 40)
    assert tip.text == 'id 3 · dog · 0.60 · detected'
    page.point_at(60, 10)
    assert not tip.is_displayed()
    assert info.text.startswith('Frame level: ')


def test_click_selects_an_object(page):
    page.run('refinevisReport.show(3)')
    page.wait_for(3)
    page.point_at(20, 20, click=True)
    page.point_at(40, 5)
    pressed = '[data-track][aria-pressed=true]'
    assert [
        button.get_dom_attribute('data-track')
        for button in page.find_all(pressed)
    ] == ['0'] * 3  # in the list, the timeline and the table
    page.assert_pixel(20, 20, 3, track_id=0)
    page.assert_pixel(60, 40, 3, track_id=3, share=0.1)
    assert page.find('#info').text == 'id 0 · cat · 0.90 · detected'
    page.point_at(20, 20, click=True)
    assert page.find_all(pressed) == []


def test_timeline(page):
    assert page.texts('#rows .row') == ['0 cat', '3 dog']
    assert page.texts('#legend li') == ['detected', 'recovered', 'missed']
    bars = page.find_all('#rows .row canvas')

    def painted(frame, row=0):
        """Share of the pixels of a bar that are painted in a frame."""
        width, height = map(bars[row].get_property, ('width', 'height'))
        left, right = (width * k // NUM_FRAMES for k in (frame, frame + 1))
        shown = page.pixels(bars[row], left + 1, 0, right - 1, height)
        return (shown[..., 3] > 127).mean()

    # a full bar, a hatched box, and nothing
    assert painted(4) > 0.7 and painted(6) == painted(4)
    assert 0.2 < painted(5) < 0.6
    assert [painted(frame, 1) > 0 for frame in range(12)
            ] == [2 <= frame < 10 for frame in range(12)]
    page.run('arguments[0].id = "dog"', bars[1])
    page.point('#dog', 7.5 / 12, 0.5, click=True)
    page.wait_for(7)
    page.assert_pixel(60, 40, 7, track_id=3)
    page.assert_pixel(20, 20, 7, track_id=0, share=0.1)
    left = page.run(
        'const [line, bar] = [playhead, arguments[0]].map('
        '(element) => element.getBoundingClientRect());'
        'return (line.left + line.width / 2 - bar.left) / bar.width', bars[0])
    assert left == pytest.approx(7.5 / 12, abs=0.005)
    page.point('#ruler', 0.01, 0.5, click=True)
    page.wait_for(0)
    # before refinement the cat was missed: a dashed line
    page.press('1')
    bars = page.find_all('#rows .row canvas')
    assert 0 < painted(5) < 0.15


def test_table_sorts(page):
    page.press('1')

    def rows():
        return [row.text.split() for row in page.find_all('#tracks tbody tr')]

    def sort(name):
        header, = [
            header for header in page.find_all('#tracks th')
            if header.text.split()[0] == name
        ]
        header.find_element('css selector', 'button').click()
        return header.get_dom_attribute('aria-sort')

    assert page.texts('#tracks th') == [
        'Id', 'Class', 'Score', 'First', 'Last', 'Detected', 'Recovered',
        'Missed'
    ]
    cat = '0 cat 0.900 0 11 11 0 1'.split()
    dog = '3 dog 0.600 2 9 8 0 0'.split()
    assert rows() == [cat, dog]
    assert sort('Score') == 'ascending'
    assert rows() == [dog, cat]
    assert sort('Score') == 'descending'
    assert rows() == [cat, dog]
    assert sort('Class') == 'ascending'
    assert rows() == [cat, dog]
    assert sort('Class') == 'descending'
    assert rows() == [dog, cat]
    assert len(page.find_all('#tracks [aria-sort]')) == 1
    # a click on a track that is not in the frame shows where it begins
    page.find('#tracks tbody tr td:nth-child(3)').click()
    page.wait_for(2)
    assert page.find('#info').text == 'id 3 · dog · 0.60 · detected'


def test_keys(page):
    keys = page.keys
    for key, frame in ((keys.ARROW_RIGHT, 1), (keys.END, 11),
                       (keys.ARROW_RIGHT, 11), (keys.ARROW_LEFT, 10),
                       (keys.HOME, 0), (keys.ARROW_LEFT, 0)):
        page.press(key)
        page.wait_for(frame)
    page.actions().key_down(keys.SHIFT).send_keys(keys.ARROW_RIGHT).key_up(
        keys.SHIFT).perform()
    page.wait_for(10)
    for key, view in (('1', 'frame_level'), ('4', 'ground_truth'),
                      ('2', 'offline'), ('3', 'online'), ('5', 'online')):
        page.press(key)
        assert page.view()[0] == view
    page.press(keys.END)
    page.wait_for(11)
    page.press(keys.SPACE)
    assert page.find('#play').accessible_name == 'Pause'
    page.wait_for(1)  # it starts again behind the end
    page.press(keys.SPACE)
    assert page.find('#play').accessible_name == 'Play'
    stopped = page.frame
    time.sleep(0.25)
    assert page.frame == stopped


def test_tab_order_and_focus(page):
    keys, order = page.keys, []
    for _ in range(11):
        page.press(keys.TAB)
        order.append(page.focused())
        assert page.run('return document.activeElement.matches('
                        '":focus-visible")')
    assert order == [
        'view-online', 'previous', 'play', 'next', 'slider', 'speed',
        '0 cat\n0.90\ndetected', 'Track 0 cat', 'Track 3 dog', 'tracks', 'Id'
    ]
    page.run('document.getElementById("view-online").focus()')
    page.press(keys.ARROW_RIGHT)  # moves in the group, not in the video
    assert page.view() == ('ground_truth', 'Frame 0, Ground truth, 1 objects')
    page.press('3', keys.TAB, keys.TAB, keys.SPACE)
    assert page.find('#play').accessible_name == 'Pause'
    page.press(keys.SPACE, keys.HOME)
    page.wait_for(0)
    page.press(*[keys.TAB] * 4)
    assert page.focused() == '0 cat\n0.90\ndetected'
    page.assert_pixel(20, 20, 0, track_id=0, share=0.65)
    page.press(keys.ENTER)
    assert len(page.find_all('[aria-pressed=true]')) == 3
    page.press(keys.ARROW_RIGHT)  # the focus stays with the object
    page.wait_for(1)
    assert page.focused() == '0 cat\n0.90\ndetected'
    page.press(keys.ESCAPE)
    assert page.find_all('[aria-pressed=true]') == []


def test_metrics(page, recording):
    gt = ground_truth()
    table = {
        row.find_element('css selector', 'th').text:
        [float(cell.text) for cell in row.find_elements('css selector', 'td')]
        for row in page.find_all('#metrics tbody tr')
    }
    names = page.texts('#metrics thead th')[1:]
    assert names == ['AP', 'AP50', 'AP75', 'HOTA', 'AssA', 'IDF1']
    assert list(table) == ['Frame level', 'Offline', 'Online']
    for view, cells in zip(VIEWS, table.values()):
        results = [
            dict(
                video_id=7,
                category_id=[20, 30][tracklet['label']],
                score=tracklet['score'],
                segmentations=tracklet['segmentations'])
            for tracklet in recording.tracklets(view) if tracklet['label'] < 2
        ]
        numbers = evaluate_vis(gt, results)
        tracking = evaluate_tracking(gt, results, score_thr=0.3)
        numbers.update({name: tracking[name.lower()] for name in names[3:]})
        assert cells == [round(100 * numbers[name], 1) for name in names]
    # tube IoU of the cat: 11/12, 11/13 and 1, of the dog 5/9 everywhere: AP
    # is the share of the thresholds 0.5, 0.55 ... 0.95 that are not above
    assert [cells[0] for cells in table.values()] == [55., 45., 60.]
    columns = list(zip(*table.values()))
    assert page.texts('#metrics .best') == [
        f'{value:.1f}' for cells in table.values()
        for value, column in zip(cells, columns)
        if min(column) < value == max(column)
    ]


@pytest.mark.parametrize('dark', [False, True])
def test_phone(open_report, report, browser, dark):
    emulate(browser, 360, 740, dark=dark, density=2)
    page = open_report(report)
    assert page.run('return innerWidth') == 360
    for view in '1234':
        page.press(view)
        assert page.run('return document.documentElement.scrollWidth') <= 360
    # nothing is cut off; WCAG 2.2 asks for targets of 24 pixels
    for element in page.find_all(
            'main button, #slider, #speed, #views span, #canvas'):
        place = element.rect
        assert place['x'] >= 0 and place['height'] >= 24, element.text
        if not page.run('return tracks.contains(arguments[0])', element):
            assert place['x'] + place['width'] <= 360
    assert page.find('#canvas').size['width'] > 300
    page.press('3')
    page.point_at(20, 20)
    assert page.find('#tip').text == 'id 0 · cat · 0.90 · detected'
    colors = page.run('const style = getComputedStyle(document.body);'
                      'return [style.color, style.backgroundColor]')
    luminance = [sum(map(int, re.findall(r'\d+', color))) for color in colors]
    assert (luminance[0] > luminance[1] + 400) == dark
    assert abs(luminance[0] - luminance[1]) > 400


def test_many_views_with_long_names(open_report, tmp_path):
    """Nothing is cut off, and only keys that do something are named."""
    path = tmp_path / 'report.html'
    names = [
        f'Mask2Former-VIS {k}, online, another tracker' for k in range(10)
    ]
    write_results_report(path, images(), ground_truth(),
                         {name: []
                          for name in names}, 'Systems')
    page = open_report(path)
    assert page.texts('#views label') == [*names, 'Ground truth']
    assert page.find('#last-view').text == '9'
    page.press('9')
    assert page.view()[0] == 'system8'
    for selector in ('#metrics', '#views', 'body'):
        box = page.find(selector)
        widths = [
            box.get_property(name) for name in ('scrollWidth', 'clientWidth')
        ]
        assert widths[0] <= widths[1], selector


def test_hostile_names(open_report, tmp_path):
    names = [HOSTILE, "'; alert(1); '", '${1}&lt;b>']
    gt = ground_truth([HOSTILE, '<b>x</b>'])
    path = tmp_path / 'report.html'
    with record(tmp_path / 'r.sqlite', names) as recording:
        write_report(path, images(), recording, HOSTILE, {HOSTILE: HOSTILE},
                     gt)
    page = open_report(path)
    assert page.browser.title == HOSTILE
    assert page.find('h1').text == HOSTILE
    assert page.find('#facts li').text == f'{HOSTILE} {HOSTILE}'
    assert page.find('#objects .what').text == f'0 {HOSTILE}'
    page.point_at(20, 20)
    assert page.find('#tip').text == f'id 0 · {HOSTILE} · 0.90 · detected'
    assert page.texts('#tracks td.name')[1] == names[1]
    page.press('4')
    assert page.texts('#tracks td.name') == [HOSTILE, '<b>x</b>']
    assert page.find_all('img, b b, iframe') == []
    assert page.run('return document.documentElement.scrollWidth <= '
                    'innerWidth')


def test_masks_are_those_of_pycocotools(page):
    rng = np.random.default_rng(0)
    masks = [
        rng.random((rng.integers(1, 40), rng.integers(1, 40))) < share
        for share in (0., 0.01, 0.5, 0.99, 1.) for _ in range(4)
    ]
    # long runs, whose differences are negative, too
    large = np.zeros((700, 900), bool)
    large[100:650, 20:880] = large[300:310, 5:10] = True
    masks.append(large ^ (rng.random(large.shape) < 1e-4))
    codes = [
        mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
        for mask in masks
    ]
    decoded = page.run(
        'return arguments[0].map(([code, rows]) => {'
        'const {pixels, ...rest} = refinevisReport.decodeMask(code, rows);'
        'return {...rest, pixels: Array.from(pixels).join("")}; });',
        [(code['counts'].decode(), code['size'][0]) for code in codes])
    for mask, got in zip(masks, decoded):
        pixels = np.array(list(got['pixels']), np.uint8).astype(bool)
        assert got['area'] == mask.sum()
        rows, columns = mask.nonzero()
        if len(rows):
            assert (got['x'], got['y']) == (columns.min(), rows.min())
            part = mask[rows.min():rows.max() + 1,
                        columns.min():columns.max() + 1]
            assert (got['h'], got['w']) == part.shape
            assert np.array_equal(pixels.reshape(part.shape), part)


def test_one_frame_without_objects(open_report, tmp_path):
    path = tmp_path / 'report.html'
    with record(tmp_path / 'r.sqlite', rows=lambda _: {}, num=1) as recording:
        write_report(path, images(1), recording, 'Empty')
    page = open_report(path)
    assert page.find('#position').text == '0 / 0 · 0.00 s'
    assert page.texts('#objects li') == ['No objects']
    assert page.find('#rows .empty').text == 'No tracks'
    assert page.find_all('#tracks tbody tr') == []
    assert not page.find('#metrics').is_displayed()
    page.press(page.keys.END, page.keys.ARROW_RIGHT, page.keys.SPACE, '4')
    time.sleep(0.25)  # plays its only frame
    assert page.view() == ('online', 'Frame 0, Online, 0 objects')
    page.point_at(20, 20, click=True)
    page.assert_pixel(20, 20, 0)


def test_large_frames_are_scaled_down(open_report, tmp_path):
    """A 1600 x 1200 video: image and masks have 640 x 480 pixels."""
    size = (1200, 1600)
    mask = box(400, 200, 400, size)
    mask[1000, 1000] = True  # is smaller than a pixel of the report
    stream = ResultStream(('online', ), size)
    path = tmp_path / 'report.html'
    frame = np.full((*size, 3), color_of(3), np.uint8)
    with VideoRecording.create(tmp_path / 'r.sqlite', CLASSES, size, 10.,
                               ('online', ), 'online', {}) as recording:
        recording.add(
            stream.frame(dict(online=[(0, [0.9, 0., 0.], True, mask)])))
        recording.finish()
        assert write_report(path, [frame], recording, 'Large') < 1e5
    page = open_report(path)
    assert page.texts('#facts li')[-1] == 'Size 1600 × 1200'
    # in units of 20 pixels of the video
    page.assert_pixel(30, 20, 3, track_id=0)
    for x, y in ((18, 20), (41, 20), (30, 8), (30, 31), (50, 50)):
        page.assert_pixel(x, y, 3)


def test_same_input_same_bytes(recording, report, tmp_path):
    path = tmp_path / 'again.html'
    spool = FrameSpool(tmp_path / 'frames')
    stream = ResultStream(VIEWS, SIZE)
    for image in images():
        spool.add(replace(stream.frame({}), image=image))
    size = write_report(path, spool, recording, 'A clip',
                        dict(Config='some_config'), ground_truth())
    spool.close()
    assert path.read_bytes() == report.read_bytes()
    assert size == path.stat().st_size


def test_frames_go_on_behind_a_state(tmp_path):
    path, stream = tmp_path / 'frames', ResultStream(VIEWS, (600, 800))
    frames = [stream.frame({}) for _ in range(4)]
    for frame in frames:
        frame.image[:] = color_of(frame.frame_id)
    spool = FrameSpool(path, frame_size=80, quality=30)
    spool.add(frames[0])
    spool.add(frames[1])
    state = json.loads(json.dumps(spool.state_dict()))
    assert path.stat().st_size == state['end']  # on the disk
    whole = list(spool)
    spool.add(frames[3])  # of a run that is killed after it
    spool.close()
    spool = FrameSpool(path, frame_size=80, quality=30)
    spool.load_state_dict(state)
    assert list(spool) == whole and spool.num_frames == 2
    spool.add(frames[2])
    jpegs = list(spool)
    assert jpegs[:2] == whole
    for k, jpeg in enumerate(jpegs):
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (60, 80, 3)
        assert abs(image - color_of(k)).max() < 4
    spool.close()


class Tags(HTMLParser):
    """Names and attributes of the elements of a page, without a browser."""

    def handle_starttag(self, tag, attrs):
        self.found = [*getattr(self, 'found', []), (tag, attrs)]


def test_names_are_no_elements(tmp_path):
    pages = []
    for index, name in enumerate(('name', HOSTILE)):
        path = tmp_path / f'{index}.html'
        with record(tmp_path / f'{index}.sqlite', [name, 'b', 'c']) as made:
            write_report(path, images(), made, name, {name: name},
                         ground_truth([name, 'b']))
        parser = Tags()
        parser.feed(path.read_text(encoding='utf-8'))
        pages.append(parser.found)
    assert pages[0] == pages[1] and len(pages[0]) > 80


@pytest.mark.parametrize('state, match', [
    (dict(num_frames=1, end=10**15), 'must hold 1000000000000000 bytes'),
    (dict(num_frames=1, end=-1), 'must hold -1 bytes'),
    (dict(num_frames=1), "the state of the report lacks 'end'"),
])
def test_edited_states_of_frames_are_refused(tmp_path, state, match):
    spool = FrameSpool(tmp_path / 'frames')
    spool.add(ResultStream(VIEWS, SIZE).frame({}))
    size = spool.state_dict()['end']
    with pytest.raises(ValueError, match=match):
        spool.load_state_dict(state)
    assert (tmp_path / 'frames').stat().st_size == size
    spool.load_state_dict(dict(num_frames=10**9, end=size))
    with pytest.raises(ValueError, match="frames' is damaged: it must hold"):
        for _ in spool:
            pass
    spool.close()


def test_frames_are_matched_by_name_or_number():
    gt = ground_truth()  # of clip/0.jpg, clip/1.jpg ...
    check_origin(gt, 3, 3, None)
    check_origin(gt, 3, 3, 'another.png')
    check_origin(gt, 3, 15, 'x/3.png')  # every fifth one is annotated
    for number, name in ((15, None), (15, '15.jpg')):
        with pytest.raises(
                ValueError,
                match='frame 3 of the ground truth .*'
                "clip/3.jpg.* got frame 15 of the video"):
            check_origin(gt, 3, number, name)
    del gt['videos'][0]['file_names']
    with pytest.raises(ValueError, match='got frame 15 of the video'):
        check_origin(gt, 3, 15, '3.jpg')


def test_a_part_of_a_video_is_not_compared_by_position(recording, tmp_path):
    part = tmp_path / 'part.sqlite'
    shutil.copy(recording.path, part)
    with VideoRecording.open(part) as other:
        for frame_id in range(NUM_FRAMES):
            other.add_origin(frame_id, frame_id + 1)
        with pytest.raises(ValueError, match='got frame 1 of the video'):
            write_report(
                tmp_path / 'a.html',
                images(),
                other,
                'A clip',
                ground_truth=ground_truth())
    assert not (tmp_path / 'a.html').exists()


def test_frames_must_be_those_of_the_recording(recording, tmp_path):
    path = tmp_path / 'report.html'
    path.write_text('old')

    def refuse(match, frames, **kwargs):
        with pytest.raises(ValueError, match=match):
            write_report(path, frames, recording, 'A clip', **kwargs)

    refuse('as results are needed, 12, got 11', images(11))
    refuse('as results are needed, 12, got more', images(13))
    refuse(r'\(60, 80\) of the results, got \(60, 79\)',
           [image[:, 1:] for image in images()])
    refuse('frame_size must be positive, got 0', images(), frame_size=0)
    refuse(r'quality must lie in \[1, 100\], got 0', images(), quality=0)
    with pytest.raises(OSError):
        write_report(path / 'report.html', images(), recording, '')
    # what was there stays, and nothing is left over
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]
    with record(tmp_path / 'r.sqlite', num=0) as empty:
        with pytest.raises(ValueError, match='at least one frame, got none'):
            write_report(path, [], empty, '')


def test_ground_truth_must_fit():
    gt = ground_truth()
    check_fits(gt, 12, SIZE)
    check_fits(gt, 1, SIZE, complete=False)
    text = 'it has 12 of 80 x 60 pixels, the video '
    for args, got in (((11, SIZE), '11 of 80 x 60'), ((12, (60, 79)),
                                                      '12 of 79 x 60'),
                      ((13, SIZE, False), 'at least 13 of 80 x 60'),
                      ((1, (80, 60), False), 'at least 1 of 60 x 80')):
        with pytest.raises(ValueError, match=text + got):
            check_fits(gt, *args)
    assert categories_of(['owl', 'dog'], gt) == {1: 30}
    with pytest.raises(ValueError, match=r"share a class .* \['owl'\], got"):
        categories_of(['owl'], gt)


def test_select_video():
    gt = json.loads(json.dumps(ground_truth()))
    assert select_video(gt) == gt
    other = dict(gt['videos'][0], id=8, file_names=['other/0.jpg'] * 12)
    lonely = dict(other, id=9, file_names=['lonely/0.jpg'] * 12)
    tube = dict(gt['annotations'][0], id=3, video_id=8)
    both = dict(
        gt,
        videos=[*gt['videos'], other, lonely],
        annotations=[tube, *gt['annotations']])
    assert select_video(both, video_id=7) == gt
    assert select_video(both, video_name='clip') == gt
    assert select_video(
        both, video_name='other') == dict(
            gt, videos=[other], annotations=[tube])
    for kwargs, reason in (({}, 'neither id nor name selects 3 of 3'),
                           (dict(video_id=5), 'the id 5 selects 0 of 3'),
                           (dict(video_name='x'), "name 'x' selects 0 of 3"),
                           (dict(video_id=9), 'video 9 .* has no anno')):
        with pytest.raises(ValueError, match=reason):
            select_video(both, **kwargs)
    broken = json.loads(json.dumps(gt))
    broken['annotations'][0]['segmentations'][0]['counts'] = '04'
    with pytest.raises(
            ValueError, match='annotation 1, frame 0: RLE counts cover'):
        select_video(broken)
