"""Regions of a COCO-style results file."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict

from mmdet_vild.extraction import FileProposer

pytestmark = pytest.mark.onedl

IMAGE = dict(img_id=1, img_path='1.png', ori_shape=(40, 50))


def row(image_id, box, score=0.5):
    return dict(image_id=image_id, bbox=box, score=score)


@pytest.fixture
def make(tmp_path):
    def build(content):
        (tmp_path / 'p.json').write_text(json.dumps(content))
        return TASK_UTILS.build(dict(type='FileProposer', proposal_file=str(tmp_path / 'p.json')))

    return build


def test_the_best_of_each_image(make):
    rows = [row(1, [2, 3, 10, 20], 0.3), row(2, [0, 0, 5, 5], 0.9)]
    rows += [row(1, [30, 0, 15, 40], 0.7), row(1, [1, 1, 1, 1], 0.1)]
    samples = [DetDataSample(metainfo=IMAGE | dict(img_id=i)) for i in (2, 1)]
    model = SimpleNamespace(test_cfg=ConfigDict(rpn=dict(max_per_img=2)))
    other, found = make(rows).propose(model, None, samples)
    assert other.bboxes.tolist() == [[0, 0, 5, 5]]
    assert found.bboxes.tolist() == [[30, 0, 45, 40], [2, 3, 12, 23]]
    np.testing.assert_allclose(found.scores, [0.7, 0.3], rtol=1e-6)


def test_source(make):
    """As the release before proposers wrote it, so that its stores can be gone on with."""
    rows = [row(1, [5, 2, 3.5, 4], 0.25), row(1, [5, 2, 3.5, 4]), row('a', [5, 2, 3.5, 4], 1)]
    assert make(rows).source(None) == {'proposals': 'file@f6e0271247e67357'}
    for change in (row(2, [5, 2, 3.5, 4], 0.25), row(1, [5, 2, 3.5, 5], 0.25)):
        assert make([change, *rows[1:]]).source(None) != make(rows).source(None)


@pytest.mark.parametrize(
    ('box', 'inside'),
    [([-5, 30, 10, 10.5], [0, 30, 5, 40]), ([-3, 20, 60, 30], [0, 20, 50, 40])],
)
def test_boxes_are_clipped_to_the_image(make, box, inside):
    assert make([row(1, box)]).read(IMAGE)[0].tolist() == [inside]
    message = r'p.json has the box \[51.0, .*60.0, .* image 1, outside of its .* \(40, 50\)'
    with pytest.raises(ValueError, match=message):
        make([row(1, box), row(1, [51, 0, 9, 9])]).read(IMAGE)


def test_the_size_of_an_image(make):
    """Of a file that knows it, which may know no other."""
    unknown = ({}, dict(height=40), dict(height=None, width=None), dict(height=0, width='50'))
    for known in (*unknown, dict(height=40, width=50)):
        content = dict(images=[dict(id=1, **known)], annotations=[row(1, [5, 2, 3, 4])])
        assert make(content).read(IMAGE)[0].tolist() == [[5, 2, 8, 6]]
    content['images'][0]['width'] = 100
    message = r'image 1 of \(height, width\) \(40, 100\), but here it has \(40, 50\); make the'
    with pytest.raises(ValueError, match=message):
        make(content).read(IMAGE)


def test_a_listed_image_may_have_no_regions(make):
    content = dict(images=[dict(id=1), dict(id=2)], annotations=[row(2, [0, 0, 5, 5])])
    boxes, scores = make(content).read(IMAGE)
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    with pytest.raises(KeyError, match='does not name image 3 .*x.png.*make them .* list it in'):
        make(content).read(dict(img_id=3, img_path='x.png', ori_shape=(40, 50)))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        *[(content, 'not a COCO-style results file') for content in ({'a': 1}, [[1, 2]], 3)],
        ({'images': [1], 'annotations': []}, 'not a COCO-style results file'),
        ([{'bbox': [1, 2, 3, 4]}], 'not a COCO-style results file'),
        ([row(1, [1, 2, 3, '4'])], 'not a COCO-style results file'),
        ([row(1, [1, 2, 3, float('nan')])], 'a box or a score is no finite number'),
        ([row(1, [4, 4, 4, 4]), row(1, [20, 8, -10, 5])], r'the box \[20.0, 8.0, .* image 1; exp'),
        ([row(1, [20, 8, 0, 5])], r'the box \[20.0, 8.0, .* image 1; expected a bbox'),
        ([row(1, [1, 2, 3, 4], True)], "a score is True or False: .*'score': True"),
        ([row(1, [1, 2, True, 4])], 'a score is True or False'),
        ([row(True, [1, 2, 3, 4])], 'a score is True or False'),
        *[
            (
                dict(images=[dict(id=1), dict(id=2)], annotations=[row(i, [1, 2, 3, 4])]),
                f'p.json has regions of 1 images .* do not name, such as image {i!r}; name every',
            )
            for i in ('1', 77)
        ],
        ([], 'p.json has no region for any image'),
        ({'images': [{'id': 1}], 'annotations': []}, 'p.json has no region for any image'),
    ],
)
def test_what_is_no_such_file(make, content, message):
    with pytest.raises(ValueError, match=message):
        make(content)


def corners(n, size=(40, 50)):
    """Of random boxes, the corners where x, y, width and height should be."""
    points = np.sort(np.random.default_rng(0).integers(0, size[::-1], (n, 2, 2)), axis=1)
    points[:, 1] += 1
    return points.reshape(n, 4).tolist()


def test_warns_once_where_most_boxes_leave_their_image(make, messages):
    proposer = make([row(1 + i % 3, box) for i, box in enumerate(corners(300))])
    assert not messages
    for i in (1, 2, 3):
        proposer.read(IMAGE | dict(img_id=i))
    (message,) = messages
    assert re.search(
        r' of the first 100 boxes of .*p.json leave .* of image 1 of .* \(40, 50\)', message
    )
    counted, boxes = int(message.split()[0]), np.array(corners(300))[::3]
    sums = boxes[:, :2] + boxes[:, 2:]
    assert counted == (sums > (51, 41)).any(axis=1).sum() > 50


def test_warns_of_fractions_alone(make, messages):
    make([row(1, [0.1, 0.2, 0.5, 0.5]), row(2, [0.1, 0.2, 20, 0.5])])
    boxes = np.array(corners(300))
    boxes[:, 2:] -= boxes[:, :2]
    proposer = make([row(1, box) for box in boxes.tolist()])  # with some rounded beyond the border
    proposer.read(IMAGE)
    assert not messages
    make([row(1, [0.1, 0.2, 0.5, 0.5]), row(2, [0, 0.5, 1, 0.25])])
    (message,) = messages
    assert re.match(r'all 2 boxes of .*p.json lie within 0 and 1, such as .* of image 1; ', message)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='no proposal file at'):
        FileProposer(str(tmp_path / 'p.json'))
