# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io
import resource
import subprocess
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from refinevis_mm.video_io import (decode_image, image_folder, visible_names,
                                   write_image)
from tests.test_video_io.videos import gray, noise


def encode(picture, form='PNG', **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_16_bits(form):
    """The upper 8 bits are taken, nothing is cut off at 255."""
    values = np.array([[0, 255, 256], [0x2828, 0x28FF, 0xFFFF]], np.uint16)
    image = decode_image(encode(Image.fromarray(values), form))
    expected = np.array([[0, 0, 1], [40, 40, 255]])
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected[..., None].repeat(3, 2))


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_transparency_is_ignored(form):
    colors = noise(1)[0]
    for mode in ('RGB', 'L'):
        picture = Image.fromarray(colors).convert(mode)
        clear = picture.copy()
        clear.putalpha(Image.fromarray(noise(2)[1][..., 0]))
        assert clear.mode == f'{mode}A'
        np.testing.assert_array_equal(
            decode_image(encode(clear, form)),
            np.asarray(picture.convert('RGB'))[..., ::-1])


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
def test_orientation(form):
    """Orientation 6: turn the stored picture clockwise by a quarter."""
    values = gray(40)
    values[:16, :24] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encode(Image.fromarray(values), form, exif=exif))
    assert image.shape == (64, 48, 3)
    assert image[2, -3].min() > 200  # top left went to top right
    assert image[2, 2].max() < 80


@pytest.mark.parametrize('form', ['TIFF', 'WEBP', 'PNG', 'GIF'])
def test_several_pictures_are_refused(form):
    pictures = [Image.fromarray(gray(20 * k)) for k in range(6)]
    data = encode(pictures[0], form, save_all=True, append_images=pictures[1:])
    with pytest.raises(ValueError, match='holds 6 pictures'):
        decode_image(data)


def test_preview_behind_a_jpeg():
    """Phones write JPEG files with a second picture: the first one counts."""
    pictures = [Image.fromarray(gray(value)) for value in (100, 0)]
    data = encode(
        pictures[0], 'MPO', save_all=True, append_images=pictures[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert abs(decode_image(data).astype(int) - 100).max() <= 1


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_pixels_of_32_bits_are_refused(dtype):
    data = encode(Image.fromarray(np.ones((4, 6), dtype)), 'TIFF')
    with pytest.raises(ValueError, match='must have 8 or 16 bits, got 32'):
        decode_image(data)


@pytest.mark.parametrize('data, reason', [
    (b'', 'not an image'),
    (b'GIF89a', '.'),
    (b'II*\0\x08\0\0\0\0\0\0\0\0\0', 'not an image'),
    (encode(Image.fromarray(noise(1)[0]), 'JPEG')[:900], 'truncated'),
    (encode(Image.fromarray(noise(1)[0]))[:900], '.'),
])
def test_no_image(data, reason):
    with pytest.raises(ValueError, match=reason) as error:
        decode_image(data)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP'])
@pytest.mark.filterwarnings('ignore')
def test_broken_files_are_refused_or_read(form):
    """Whatever the bytes, there is an image or a ValueError."""
    rng = np.random.default_rng(0)
    whole = np.frombuffer(encode(Image.fromarray(noise(1)[0]), form), np.uint8)
    num_refused = 0
    for _ in range(200):
        data = whole.copy()
        places = rng.integers(rng.choice([40, len(data)]), size=4)
        data[places] = rng.integers(256, size=4)
        try:
            assert decode_image(data.tobytes()).dtype == np.uint8
        except ValueError:
            num_refused += 1
    assert num_refused


def test_decompression_bomb(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ValueError, match='decompression bomb'):
        decode_image(encode(Image.fromarray(gray(0))))


def test_hidden_names(tmp_path):
    for name in ('b.png', '.b.png', '._b.png', 'a', '.DS_Store'):
        (tmp_path / name).touch()
    (tmp_path / '.ipynb_checkpoints').mkdir()
    assert visible_names(tmp_path) == ['a', 'b.png']


def test_names_are_in_the_order_of_their_numbers(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / f'{number}.png').touch()
    assert visible_names(tmp_path) == ['1.png', '2.png', '10.png']


@pytest.mark.parametrize('name', ['1.avif', '1.HEIC', '1.gif'])
def test_images_of_another_form_are_not_lost(tmp_path, name):
    for other in ('0.jpg', '2.jpg', 'notes.txt', '0.json', name, '._1.gif'):
        (tmp_path / other).touch()
    with pytest.raises(ValueError, match=f'not read: 1 of 3, such as "{name}'):
        image_folder(str(tmp_path))
    (tmp_path / name).unlink()
    assert image_folder(
        str(tmp_path)) == [str(tmp_path / '0.jpg'),
                           str(tmp_path / '2.jpg')]


def test_write_image(tmp_path):
    image = noise(1, 200, 200)[0]
    write_image(tmp_path / 'i.png', image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'i.png')), image)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError):
            write_image(tmp_path / 'full.png', image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_programs_are_no_images(monkeypatch):
    """Pillow gives PostScript to Ghostscript, whatever the file is called."""
    monkeypatch.setattr(subprocess, 'check_call', None)
    data = encode(Image.fromarray(gray(40)), 'EPS')
    with pytest.raises(ValueError, match='^not an image$'):
        decode_image(data)


def test_bombs():
    """A file of 100 bytes that says it has 10^10 pixels."""
    data = encode(Image.fromarray(gray(40)))
    head = b'IHDR' + 2 * (10**5).to_bytes(4, 'big') + data[24:29]
    data = data[:12] + head + zlib.crc32(head).to_bytes(4, 'big') + data[33:]
    with pytest.raises(ValueError, match='10000000000 pixels'):
        decode_image(data)
