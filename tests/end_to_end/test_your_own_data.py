"""What the README and docs/your_own_data.md tell a user with data of their own, word for word."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmdet_vild.datasets import EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text().split('## Your own data')[1].split('\n## ')[0]
DOCS = (ROOT / 'docs' / 'your_own_data.md').read_text()
#: As many as the README says, with gaps between their ids.
NAMES = ['red heart', 'zebra', *(f'thing {i}' for i in range(10))]
IDS = range(5, 5 + 3 * len(NAMES), 3)
SIZE = 64
#: What makes a run short: a small network, small pictures, an epoch.
SMALL = """
    model.backbone.depth=18 model.backbone.init_cfg=None model.neck.in_channels=[64,128,256,512]
    model.roi_head.bbox_head.fc_out_channels=32 model.train_cfg.rpn_proposal.max_per_img=50
    model.test_cfg.rpn.max_per_img=30 model.test_cfg.rcnn.max_per_img=20 train_cfg.max_epochs=1
    train_dataloader.dataset.pipeline.2.scale=(96,96) default_hooks.logger.interval=1
    train_dataloader.num_workers=0 train_dataloader.persistent_workers=False
    val_dataloader.num_workers=0 val_dataloader.persistent_workers=False
    val_dataloader.dataset.pipeline.1.scale=(96,96)
    test_dataloader.num_workers=0 test_dataloader.persistent_workers=False
"""
#: Stands in for ``python`` in the shell: notes what to run.
NOTE = """#!/bin/sh
[ "$1" = -c ] && exec {python} "$@"
printf '%s\\037' "$@" >> commands && echo >> commands
"""
#: Runs what was noted, in children of one process that has imported what takes seconds to import.
FORKS = """
import os, runpy, sys
import mmdet_vild

for line in open('commands').read().splitlines():
    sys.argv = line.split(chr(31))[:-1]
    print('COMMAND', sys.argv, flush=True)
    child = os.fork()
    if not child:
        sys.path[0] = os.path.dirname(sys.argv[0])
        runpy.run_path(sys.argv[0], run_name='__main__')
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit(f'{sys.argv} failed')
"""


def blocks(text: str) -> list[str]:
    """The indented and the fenced pieces of code, in order."""
    found = re.findall(r'^```python\n(.*?)^```|((?:^ {4}[^\n]*\n)+)', text, re.M | re.S)
    return [textwrap.dedent(fenced or indented).strip() for fenced, indented in found]


class User:
    """Who has data in COCO's format and follows the recipe.

    Args:
        folder: An empty folder, with the project's configs and tools in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / 'configs', folder / 'configs')
        (folder / 'tools').symlink_to(ROOT / 'tools')
        (folder / 'bin').mkdir()
        (folder / 'bin' / 'python').write_text(NOTE.format(python=sys.executable))
        (folder / 'bin' / 'python').chmod(0o755)
        self.mine = folder / 'data' / 'mine'
        (self.mine / 'annotations').mkdir(parents=True)
        for split, count in (('train', 4), ('val', 2)):
            self.write(split, count)
        torch.manual_seed(0)
        self.weights = folder / 'teacher.pt'
        torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), self.weights)

    def write(self, split: str, count: int) -> None:
        """Pictures, and an annotation file as COCO's."""
        rng = np.random.default_rng(0)
        images, annotations = [], []
        (self.mine / split).mkdir()
        for image_id in range(count):
            name = f'{image_id}.jpg'
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            cv2.imwrite(str(self.mine / split / name), pixels)
            images.append(dict(id=image_id, file_name=name, height=SIZE, width=SIZE))
            for category_id in (IDS[0], IDS[2 + image_id], IDS[3 + image_id]):
                x, y = (int(v) for v in rng.integers(0, 30, 2))
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=category_id,
                        bbox=[x, y, 30, 30],
                        area=900,
                        iscrowd=0,
                        segmentation=[[x, y, x + 30, y, x + 30, y + 30, x, y + 30]],
                    )
                )
        annotations.append(dict(annotations[0], id=len(annotations) + 1, iscrowd=1))
        categories = [dict(id=i, name=name) for i, name in zip(IDS, NAMES, strict=True)]
        file = self.mine / 'annotations' / f'{split}.json'
        file.write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories[::-1]))
        )

    def shell(self, code: str) -> list[str]:
        """Run commands of a shell, but for sizes and the teacher.

        Returns:
            What each of the Python programs among them printed.
        """
        (tools,) = re.findall(r'^ +(TOOLS=.*)', (ROOT / 'README.md').read_text(), re.M)
        code = code.replace('--auto-scale-lr', '--auto-scale-lr --cfg-options $SMALL')
        code = re.sub(r'(region-embeddings.py \S+\.pth)', r'\1 --cfg-options $SMALL $TEACHER', code)
        code = re.sub(r'(vild.py \S+\.pth)', r'\1 --cfg-options $SMALL $SCALE', code)
        code = code.replace(
            'CHECKPOINT --cfg-options', 'work_dirs/vild/epoch_12.pth --cfg-options $SMALL $SCALE'
        )
        setup = f"""
            SMALL='{SMALL}'
            TEACHER='model.teacher.model_name=mini-clip model.teacher.pretrained={self.weights}'
            TEACHER="$TEACHER test_dataloader.dataset.pipeline.2.scale=(96,96)"
            SCALE='test_dataloader.dataset.pipeline.1.scale=(96,96)'
            {tools}
        """
        self.run('bash', '-euc', setup + self.adapted(code))
        return self.run(sys.executable, '-c', FORKS).split('COMMAND ')[1:]

    def python(self, code: str) -> str:
        """Run Python; returns what it printed."""
        return self.run(sys.executable, '-c', self.adapted(code))

    def adapted(self, code: str) -> str:
        """With a teacher that is at hand, and the only epoch."""
        code = code.replace('ViT-B-32-quickgelu', 'mini-clip')
        code = code.replace('--pretrained openai', f'--pretrained {self.weights}')
        return code.replace('/epoch_12.pth', '/epoch_1.pth')

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={
                **os.environ,
                'PATH': f'{self.folder / "bin"}:{os.environ["PATH"]}',
                'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}',
                'CUDA_VISIBLE_DEVICES': '',
            },
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, f'{command[-1]}\n{done.stdout}\n{done.stderr}'
        return done.stdout

    def annotations(self, name: str) -> dict:
        return json.loads((self.mine / 'annotations' / f'{name}.json').read_text())


def block(text: str, part: str) -> str:
    """The piece of code that contains a part."""
    (found,) = (code for code in blocks(text) if part in code)
    return found


@pytest.fixture(scope='module')
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Who has written the three configs."""
    user = User(tmp_path_factory.mktemp('own_data'))
    (user.folder / 'configs' / 'mine').mkdir()
    names = re.findall(r'`(configs/mine/\S+\.py)`[^`]*```python', README + DOCS)
    code = [block for block in blocks(README + DOCS) if block.startswith('_base_')]
    for name, content in zip(names, code, strict=True):
        (user.folder / name).write_text(content)
    return user


@pytest.fixture(scope='module')
def printed(user: User) -> list[str]:
    """What each program prints: of the recipe, for words, under another vocabulary."""
    (user.folder / 'words.txt').write_text('zebra\nthing 3\nblue whale\n')
    content = user.annotations('val')
    # Not all of the old ones: "red heart" is gone.
    content['categories'] = [c for c in content['categories'] if c['name'] != NAMES[0]]
    content['annotations'] = [a for a in content['annotations'] if a['category_id'] != IDS[0]]
    new = ['gnu', *(f'new {i}' for i in range(8))]
    content['categories'] += [dict(id=99 + i, name=name) for i, name in enumerate(new)]
    (user.mine / 'annotations' / 'other.json').write_text(json.dumps(content))
    text = block(README, '$TOOLS/train.py') + '\n' + block(DOCS, 'words.txt') + '\n'
    encode = re.search(r'python tools/encode_vocabulary.py .*\n.*\n', text)[0]
    encode = encode.replace('train.json', 'other.json').replace('text_vit-b-32', 'other')
    encode = encode.replace('"red heart"', 'gnu')
    other = block(README, 'CHECKPOINT').replace('CONFIG', 'configs/mine/vild.py')
    return user.shell(text + encode + other)


def test_recipe(user: User, printed: list[str]) -> None:
    encode, vild_text, _, vild, test, *_ = printed
    assert '12 categories (2 novel)' in encode
    assert 'loss_cls' in vild_text and 'loss_distill' not in vild_text
    assert 'dropped 5 annotations of 2 novel categories' in vild_text
    assert len(EmbeddingStore(str(user.mine / 'vild' / 'regions_vit-b-32'))) == 4
    assert 'loss_cls' in vild and 'loss_distill' in vild and 'LR is set based on batch' in vild
    for name in ('bbox_mAP', 'base_ap50', 'novel_ap50'):
        assert f'coco/{name}: ' in test


def test_another_vocabulary(printed: list[str]) -> None:
    *_, encode, test = printed
    assert '20 categories (2 novel)' in encode
    assert 'coco/novel_ap50: ' in test and 'mismatch' not in test


def test_pictures(user: User, printed: list[str]) -> None:
    """The README's lines, and those of the docs for the words of a text file."""
    assert '3 categories (2 novel)' in printed[5]
    shutil.copy(user.mine / 'val' / '0.jpg', user.folder / 'picture.jpg')
    show = '\nprint(detect.model.dataset_meta["classes"])\n'
    pictures, words = (block(text, 'DetInferencer') for text in (README, DOCS))
    small = 'config = Config.fromfile("work_dirs/vild/vild.py")'  # the network that was trained
    words = re.sub('config = .*', small, words)
    shown = user.python(pictures + show + words + show)
    assert str(tuple(NAMES[::-1])) in shown
    assert str(('zebra', 'thing 3', 'blue whale')) in shown
    assert (user.folder / 'work_dirs' / 'pictures' / 'vis' / 'picture.jpg').is_file()


def test_boxes_without_masks(
    user: User, printed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the docs say."""
    register_all_modules()
    monkeypatch.chdir(user.folder)
    changes = re.search(r'Without masks, set (.*?)\n\n', DOCS, re.S)[1]
    options = dict.fromkeys(re.findall(r'`(model\.\S+)=None`', changes))
    assert len(options) == 2 and '`with_mask=False`' in changes
    config = Config.fromfile('configs/mine/vild.py')
    config.merge_from_dict({**options, 'model.backbone.init_cfg': None})
    config.train_dataloader.dataset.pipeline[1].with_mask = False
    dataset = DATASETS.build(config.train_dataloader.dataset)
    model = MODELS.build(config.model)
    batch = model.data_preprocessor(pseudo_collate([dataset[0]]), training=True)
    losses = model(**batch, mode='loss')
    assert 'loss_distill' in losses and 'loss_mask' not in losses
