# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import dataclasses

import pytest
import yaml

from refinevis_mm.zoo import ZooEntry, find_entry, licence_line, list_entries
from refinevis_mm.zoo.model_card import model_card

NAME = 'refinevis-small_occluded-shapes'


def split(text):
    """Head and body of a card."""
    empty, head, body = text.split('---\n', 2)
    assert empty == ''
    return yaml.safe_load(head), body


def test_by_hand():
    head, body = split(model_card(find_entry(NAME)))
    assert head['license'] == 'apache-2.0' and 'license_name' not in head
    assert head['library_name'] == 'refinevis_mm'
    result, = head['model-index'][0]['results']
    assert head['model-index'][0]['name'] == NAME
    assert [(item['type'], item['value']) for item in result['metrics']][:2] \
        == [('AP', 53.5), ('AP50', 80.8)]
    assert result['dataset']['type'].startswith('occludedshapes-40-validation')
    assert '| 53.5 | 80.8 | 58.2 |' in body
    assert f"VISInferencer('{NAME}')" in body
    assert '7: circle, square, triangle, star, cross, ring, heart.' in body
    assert licence_line(find_entry(NAME)) in body
    assert find_entry(NAME).sha256 in body


def test_other_licences_and_own_weights():
    entry = ZooEntry(
        name='street-2026',
        family='own',
        config='/lab/street.py',
        address='/lab/weights/street.pth',
        file_name='street.pth',
        licence='of our lab: ask # first',
        class_names='',
        own_classes=('car', ),
        non_commercial=True)
    head, body = split(model_card(entry))
    assert head['license'] == 'other'
    assert head['license_name'] == entry.licence
    assert 'model-index' not in head and '## Accuracy' not in body
    assert "VISInferencer('street.py', 'street.pth')" in body
    assert '/lab' not in body and 'NOT FOR COMMERCIAL USE' in body
    assert '## What was checked' not in body and 'SHA-256' not in body


@pytest.mark.parametrize('entry', list_entries(), ids=lambda entry: entry.name)
def test_all_say_what_they_know(entry):
    head, body = split(model_card(entry))
    assert (head['license'] == 'other') == ('license_name' in head)
    for fact in (entry.name, entry.licence, entry.verified, entry.untried):
        assert fact in body
    code = body.split('```python\n')[1].split('```')[0]
    compile(code, entry.name, 'exec')


@pytest.mark.zoo
def test_the_hub_reads_it():
    """Head and results by the hub's own package."""
    hub = pytest.importorskip('huggingface_hub')
    for entry in (find_entry(NAME), find_entry('minvis-r50_ovis'),
                  dataclasses.replace(find_entry(NAME), result=None)):
        card = hub.ModelCard(model_card(entry))
        assert card.data.library_name == 'refinevis_mm'
        results = card.data.eval_results or []
        expected = entry.result.metrics if entry.result else {}
        assert {
            result.metric_type: result.metric_value
            for result in results
        } == expected
        assert card.text.strip().startswith(f'# {entry.name}')
