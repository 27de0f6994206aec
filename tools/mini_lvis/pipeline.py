"""The steps from nothing to evaluated detectors in the mini world."""

import argparse
import hashlib
import json
import os
import sys
import warnings
from pathlib import Path

from categories import load_categories
from drawings import SOURCE
from mmengine.config import Config
from mmengine.device import get_device
from steps import STOCK_TOOLS, Steps

import mmdet_vild.teacher
from mmdet_vild import config_path

# MMEngine 0.10.7 says it again for every config that is read, here and in the steps.
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
os.environ.setdefault('PYTHONWARNINGS', 'ignore:pkg_resources is deprecated as an API')

HERE = Path(__file__).parent
#: What decides how the pictures and the teacher turn out.
PAINTING = (SOURCE, *(HERE / f'{name}.py' for name in ('categories', 'drawings', 'scenes')))
TEACHER_MODEL = Path(mmdet_vild.teacher.__file__).parent / 'model_configs' / 'mini-clip-lite0.json'

#: Methods, in the order of the tables, and the config that trains each.
TRAINED = {
    'Mask R-CNN (base only)': 'mask-rcnn',
    'ViLD-text': 'vild-text',
    'ViLD-image': 'vild-image',
    'ViLD': 'vild',
    'ViLD-ensemble': 'vild-ensemble',
}
CLIP_ON_CROPS = 'CLIP on cropped regions'
#: Processes of the stock tools: steps this small gain more from two of them than from two threads.
PROCESSES = 2 if get_device() == 'cpu' and (os.cpu_count() or 1) > 1 else 1


def category_file(path: str) -> Path:
    """The command-line argument that names a category list."""
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f'there is no category list at {path}')
    try:
        load_categories(Path(path), json.loads(SOURCE.read_text())['categories'])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(path)


def seed(text: str) -> int:
    """The command-line argument that is a seed."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'expected a whole number of 0 or more, found {text!r}')
    return int(text)


def world_name(seed: int, categories: Path | None) -> str:
    """The folder name of a world: ``mini_lvis``, and what is not the default.

    A category list gives its name and a digest of its content, so that a list that was edited, or
    another of the same name, is a world of its own.
    """
    name = 'mini_lvis'
    if categories:
        digest = hashlib.sha256(categories.read_bytes()).hexdigest()
        name += f'_{categories.stem}_{digest[:8]}'
    return f'{name}_seed{seed}' if seed else name


def _config(method: str) -> str:
    return config_path(f'mini_lvis/{method}_r18-mini_fpn_mini-lvis.py')


class World:
    """One generated dataset, its teacher, and the detectors trained on it.

    Args:
        seed: Seed of everything.
        categories: The category list; None takes all that is drawn.
        data: Folder of the dataset.
        work: Folder of the detectors.
        options: Further ``--cfg-options`` of every training and test.
        sizes: Further arguments of ``generate.py``.
        teacher_sizes: Further arguments of ``train_teacher.py``.
    """

    def __init__(
        self,
        seed: int,
        categories: Path | None,
        data: Path,
        work: Path,
        options: tuple[str, ...] = (),
        sizes: tuple[str, ...] = (),
        teacher_sizes: tuple[str, ...] = (),
    ) -> None:
        self.seed = seed
        self.categories = categories
        self.data = data
        self.work = work
        self.sizes = sizes
        self.teacher_sizes = teacher_sizes
        self.options = (f'randomness.seed={seed}', *options)
        self.steps = Steps(work / 'steps', {'MINI_LVIS': str(data), 'OMP_WAIT_POLICY': 'PASSIVE'})

    def prepare(self) -> None:
        """Generate the data, train the teacher and encode the vocabulary."""
        python, data = sys.executable, self.data
        chosen = [self.categories] if self.categories else []
        self.steps.run(
            'generate the world',
            [python, HERE / 'generate.py', '--out', data, '--seed', self.seed,
             *(['--categories', *chosen] if chosen else []), *self.sizes],
            [data],
            [*chosen, HERE / 'generate.py', HERE / 'coco_words.json', *PAINTING],
        )  # fmt: skip
        (data / 'vild').mkdir(exist_ok=True)
        imagenet = data / 'vild' / 'imagenet.pth'
        self.steps.run(
            'take the ImageNet weights',
            [python, HERE / 'imagenet.py', imagenet],
            [imagenet],
            [HERE / 'imagenet.py'],
        )
        teacher = data / 'vild' / 'teacher.pt'
        self.steps.run(
            'train the teacher',
            [python, HERE / 'train_teacher.py', '--seed', self.seed, '--out', teacher,
             *self.teacher_sizes],
            [teacher, teacher.with_suffix('.json')],
            [HERE / 'train_teacher.py', HERE / 'crops.py', HERE / 'imagenet.py', *PAINTING,
             TEACHER_MODEL],
        )  # fmt: skip
        text = data / 'vild' / 'text.npz'
        self.steps.run(
            'encode the vocabulary',
            [python, HERE.parent / 'encode_vocabulary.py', data / 'categories.json',
             '--model', 'mini-clip-lite0', '--pretrained', teacher, '--out', text],
            [text],
        )  # fmt: skip

    def extract(self) -> None:
        """Let the teacher embed the proposals of ViLD-text on the training images."""
        store = self.data / 'vild' / 'regions'
        self._stock(
            'embed the proposals',
            'test.py',
            'region-embeddings',
            [self.checkpoint('vild-text'), '--work-dir', self.work / 'region-embeddings'],
            [store],
        )

    def train(self, method: str) -> None:
        """Train the config of a method."""
        folder = self.work / method
        batch_size = Config.fromfile(_config(method)).train_dataloader.batch_size // PROCESSES
        self._stock(
            f'train {method}',
            'train.py',
            method,
            ['--work-dir', folder, '--resume'],
            [folder],
            [f'train_dataloader.batch_size={batch_size}'],
        )

    def test(self, method: str, checkpoint: str | None = None) -> Path:
        """Test a config on the checkpoint of ``checkpoint`` (default: its own), both test sets.

        Returns:
            The folder of the results.
        """
        folder = self.work / f'{method}-test'
        self._stock(
            f'test {method}',
            'test.py',
            method,
            [self.checkpoint(checkpoint or method), '--work-dir', folder],
            [folder / 'results.bbox.json', folder / 'results.segm.json'],
            [
                f'test_evaluator.outfile_prefix={folder / "results"}',
                'test_dataloader.dataset.ann_file=annotations/lvis_v1_test_and_unseen.json',
                'test_evaluator.ann_file='
                f'{self.data / "annotations" / "lvis_v1_test_and_unseen.json"}',
            ],
        )
        return folder

    def checkpoint(self, method: str) -> Path:
        """The last checkpoint of a trained method."""
        last = self.work / method / 'last_checkpoint'
        # Before the training the name is not known yet, only that mmengine will write it there.
        return Path(last.read_text().strip()) if last.exists() else last

    def _stock(
        self, name: str, tool: str, method: str, arguments: list, outputs: list, options: list = ()
    ) -> None:
        config = _config(method)
        python, launcher = [sys.executable], []
        options = [*self._model_options(method), *options]
        if PROCESSES > 1:  # as dist_train.sh and dist_test.sh do it
            python += ['-m', 'torch.distributed.run', '--standalone', '--local-addr', '127.0.0.1']
            python += ['--nproc-per-node', PROCESSES]
            launcher = ['--launcher', 'pytorch']
            options.append('env_cfg.dist_cfg.backend=gloo')
        options += self.options
        self.steps.run(
            name,
            [*python, STOCK_TOOLS / tool, config, *arguments, *launcher, '--cfg-options', *options],
            outputs,
            [Config.fromfile(config).pretty_text],
        )

    def _model_options(self, method: str) -> list[str]:
        """The number of categories of this world, and the temperature of its teacher."""
        count = len(json.loads((self.data / 'categories.json').read_text()))
        heads = ('bbox_head', 'mask_head')
        options = [f'model.roi_head.{head}.num_classes={count}' for head in heads]
        if method != 'mask-rcnn':
            learned = json.loads((self.data / 'vild' / 'teacher.json').read_text())['learned']
            temperature = round(1 / learned['logit_scale'], 3)
            classifier = 'model.roi_head.bbox_head.cls_predictor_cfg'
            options.append(f'{classifier}.temperature={temperature}')
        return options
