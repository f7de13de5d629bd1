# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A real Chromium without a window, for tests of pages."""
import os.path as osp
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Tuple

import pytest

Size = Tuple[int, int]

CHROMIUM = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu',
         '--disable-dev-shm-usage', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update',
         '--disable-sync', '--hide-scrollbars')


@contextmanager
def open_chromium(folder: Path, size: Size = (1280, 1000)) -> Iterator[Any]:
    """Start Chromium; skip the test where it is not installed.

    Debian has it in the packages ``chromium`` and ``chromium-driver``; the
    Python part is ``selenium``. Nothing is downloaded.

    Args:
        folder (Path): For its profile, must not be used by another one.
        size (tuple[int, int]): Width and height of the window in pixels.

    Yields:
        selenium.webdriver.Chrome: The browser; closed at the end.
    """
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='selenium is not installed')
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which('chromedriver')
    if chromium is None or driver is None:
        pytest.skip('chromium and chromedriver are not installed '
                    '(apt-get install chromium chromium-driver)')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    width, height = size
    for flag in (*FLAGS, f'--user-data-dir={folder}',
                 f'--window-size={width},{height}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()


def emulate(browser: Any,
            width: int,
            height: int,
            dark: bool = False,
            density: float = 1.) -> None:
    """Show pages as a screen of this size does.

    Args:
        browser (selenium.webdriver.Chrome): From :func:`open_chromium`.
        width (int): CSS pixels; windows have a least width, screens do not.
        height (int): CSS pixels.
        dark (bool): Whether the user prefers dark pages. Defaults to False.
        density (float): Pixels per CSS pixel. Defaults to 1.
    """
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        dict(
            width=width,
            height=height,
            deviceScaleFactor=density,
            mobile=False))
    scheme = dict(
        name='prefers-color-scheme', value='dark' if dark else 'light')
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia',
                            dict(features=[scheme]))


def open_page(browser: Any, path: Path) -> None:
    """Open a file, with an empty log of the console."""
    browser.get_log('browser')
    browser.get(Path(osp.abspath(path)).as_uri())
