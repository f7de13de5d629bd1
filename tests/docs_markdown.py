# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Fenced blocks, links and names of a documentation page."""
import re
from dataclasses import dataclass
from pathlib import Path
from typing import List

FENCE = re.compile(r'^```(\w*)\s*\n(.*?)^```\s*$', re.DOTALL | re.MULTILINE)
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
HEADING = re.compile(r'^#+ (.*)$', re.MULTILINE)
CONFIG_NAME = re.compile(
    r'\b(?:refinevis|maskdino|idol|tar|ablation)[-_][\w.-]*_\d+xb\d[\w-]*')
ZOO_NAME = re.compile(
    r'(?<![\w-])(?:mask2former|rfdetr-seg|rtmdet-ins|mask-rcnn|condinst|'
    r'queryinst|solov2|refinevis-small)[-_][\w.-]*_'
    r'(?:coco|youtubevis2021|occluded-shapes)\b')
MMDET_CONFIG = re.compile(r'\bmmdet::[\w./-]+\.py\b')
PACKAGE_NAME = re.compile(r'\brefinevis_mm((?:\.\w+)+)')
FILE_NAME = re.compile(
    r'(?<![\w/.])(?:checkpoints|configs|demo|docs|requirements|tests|tools)'
    r'/[\w./-]*\.(?:py|sh|md|pth|txt|jpg|png)')
SHELLS = ('bash', 'shell', 'sh', 'console')


@dataclass
class Block:
    """A fenced block.

    Attributes:
        page (Path): The page.
        line (int): Line of its first content, from 1.
        language (str): 'bash', 'python', or something that is not run.
        text (str): The content.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return f'{self.page.name}:{self.line}'

    @property
    def file(self) -> str:
        """File that a Python block is: its first line names it ('' if not).
        """
        first = self.text.split('\n', 1)[0]
        match = re.fullmatch(r'# ([\w./-]+\.py)', first.strip())
        return match[1] if match else ''


def blocks(page: Path) -> List[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding='utf-8')
    assert text.count('\n```') + text.startswith('```') == 2 * len(
        FENCE.findall(text)), f'{page.name}: a fence is not closed'
    found = []
    for match in FENCE.finditer(text):
        language = 'bash' if match[1] in SHELLS else match[1]
        line = text.count('\n', 0, match.start(2)) + 1
        found.append(Block(page, line, language, match[2]))
    return found


def links(page: Path) -> List[str]:
    """Targets of all links and pictures outside of fenced blocks."""
    return LINK.findall(FENCE.sub('', page.read_text(encoding='utf-8')))


def anchors(page: Path) -> List[str]:
    """Anchors of the headings, as GitHub makes them."""
    text = FENCE.sub('', page.read_text(encoding='utf-8'))
    return [
        re.sub(r'[^\w\- ]', '',
               title.strip().lower()).replace(' ', '-')
        for title in HEADING.findall(text)
    ]
