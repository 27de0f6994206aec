"""What docs/your_own_words.md tells a user, word for word."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmdet.evaluation import get_classes
from mmengine.config import Config
from stock_world import StockWorld

pytestmark = [pytest.mark.onedl, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs' / 'your_own_words.md').read_text()
#: Runs what the docs have in one process that has imported what takes seconds to import: the
#: command and the last piece of Python in children, that one without open_clip. Prints for each
#: piece what its calls detected.
RUN = """
import json, os, runpy, shlex, sys
import mmdet_vild
from mmdet.apis import DetInferencer

calls = []

class Noting(DetInferencer):
    def forward(self, inputs, **kwargs):
        samples = super().forward(inputs, **kwargs)
        calls.extend(sample.pred_instances for sample in samples)
        return samples

sys.modules['mmdet.apis'].DetInferencer = Noting

def run(code, names):
    calls.clear()
    exec(code, names)
    fields = [dict(labels=f.label_names, scores=f.scores.tolist(), keys=f.keys()) for f in calls]
    print('CALLS' + json.dumps(fields), flush=True)

def fork(function, *arguments):
    child = os.fork()
    if not child:
        function(*arguments)
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit('a child failed')

def tool(command):
    sys.argv = shlex.split(command.replace(chr(92), ' '))[1:]
    runpy.run_path(sys.argv[0], run_name='__main__')

def deployed(code, names):
    sys.modules['open_clip'] = None
    run(code, names)

*pieces, command, last = json.load(open('pieces.json'))
assert 'open_clip' not in sys.modules
fork(tool, command)
fork(deployed, last, dict(DetInferencer=Noting, picture=sys.argv[1]))
names = {}
for piece in pieces:
    run(piece, names)
"""
#: Before any words are asked for.
WITHOUT_TEXTS = """
import sys
detect(picture)
assert 'open_clip' not in sys.modules
"""
#: As mmdet 3.3's demo/image_demo.py calls it with ``--texts '$: voc'``, for two pictures.
DEMO = """
from mmdet.evaluation import get_classes
detect.model.roi_head.test_cfg.pop('explain')
detect.model.test_cfg.chunked_size = -1
detect([picture, picture], texts=[tuple(get_classes('voc')), 'red heart . whale .'], batch_size=2,
       custom_entities=True, tokens_positive=None, show=False, no_save_vis=False,
       no_save_pred=False, print_result=False, pred_score_thr=0.3, out_dir='demo')
"""


@pytest.fixture(scope='module')
def results(world: StockWorld, vild: Path) -> tuple[Path, list[list[dict]]]:
    """The folder that the docs start from, and what the calls of each piece detect."""
    folder = world.root / 'clone'
    for name in ('work_dirs/mini_lvis/vild', 'data/mini_lvis/val2017'):
        (folder / name).mkdir(parents=True)
    (folder / 'tools').symlink_to(ROOT / 'tools')
    shutil.copy(vild, folder / 'work_dirs/mini_lvis/vild/iter_600.pth')
    shutil.copy(vild.parent / 'vild_r18-mini_fpn_mini-lvis.py', folder / 'work_dirs/mini_lvis/vild')

    blocks = re.findall(r'^```(python|bash)\n(.*?)^```', DOCS, re.M | re.S)
    assert [language for language, _ in blocks] == ['python', 'python', 'python', 'bash', 'python']
    first, rivals, explained, command, last = (code for _, code in blocks)
    built, call = first.split('result = ')
    (picture,) = re.findall("^picture = '(.*)'", first, re.M)
    shutil.copy(next((world.data / 'val2017').glob('*.jpg')), folder / picture)
    pieces = [built + WITHOUT_TEXTS, 'result = ' + call, rivals, explained, DEMO, command, last]
    (folder / 'pieces.json').write_text(json.dumps(pieces))
    (folder / 'run.py').write_text(RUN)
    done = world.run('bash', '-c', f'cd "{folder}" && "{sys.executable}" run.py {picture}')
    found = [json.loads(line[5:]) for line in done.stdout.splitlines() if line[:5] == 'CALLS']
    return folder, found


def test_docs(results) -> None:
    folder, (_, (own,), (words,), (rivals,), (explained,), (voc, other)) = results
    assert set(own['labels']) <= {
        'red circle',
        'blue ring',
        'green cup',
        'red heart',
        'blue circle',
    }
    assert set(words['labels']) == {'crimson circle', 'blue tree', 'green moon', 'purple hoop'}
    assert set(rivals['labels']) == set(explained['labels']) == {'blue tree', 'purple hoop'}
    assert max(rivals['scores']) < max(words['scores'])
    fields = {'text_scores', 'objectness', 'other_names', 'other_scores'}
    assert fields <= set(explained['keys']) and 'image_scores' not in explained['keys']
    assert not fields & set(words['keys'])
    assert (folder / 'work_dirs/words/vis/000000002800.jpg').is_file()
    assert set(voc['labels']) <= set(get_classes('voc')) and len(set(voc['labels'])) > 5
    assert set(other['labels']) == {'red heart', 'whale'}
    (saved,) = (folder / 'demo/preds').glob('*.json')
    assert set(json.loads(saved.read_text())) == {'bboxes', 'labels', 'masks', 'scores'}


def test_deployed(results) -> None:
    """The same detections, without the teacher and all of its files."""
    folder, ((every, one), _, (words,), *_) = results
    assert every['labels'] == words['labels'] and set(one['labels']) == {'blue tree'}
    assert every['scores'] == pytest.approx(words['scores'], abs=1e-5)
    config = Config.fromfile(folder / 'work_dirs/deployed/vild.py')
    assert 'teacher' not in config.model and '.npz' not in str(config.model)
    checkpoint = torch.load(folder / 'work_dirs/deployed/vild.pth', weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict'}
