"""The steps from nothing to evaluated detectors in the mini world."""

import argparse
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from categories import LEAST_HANDS, load_categories
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


def world_parser(description: str) -> argparse.ArgumentParser:
    """Command-line arguments that name one world."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seed', type=seed, default=0, help='seed of the world and the trainings')
    parser.add_argument(
        '--categories',
        type=category_file,
        help='category list, see tools/mini_lvis/categories.py (default: the novel ones, and the '
        f'base ones that at least {LEAST_HANDS} hands have drawn)',
    )
    parser.add_argument('--data', type=Path, help='folder of the data (default: data/mini_lvis...)')
    parser.add_argument('--work', type=Path, help='folder of the results (default: work_dirs/...)')
    return parser


def config_of(method: str) -> str:
    """The config of a method."""
    network = '' if '_lite0' in method else '_lite0_fpn'
    return config_path(f'mini_lvis/{method}{network}_mini-lvis.py')


def embed_step(store: str = 'vild/regions', checkpoint: str = 'vild-text') -> str:
    """The name of the step that writes a store of a detector's regions."""
    name = 'embed the proposals' if store == 'vild/regions' else f'embed {store}'
    return name if checkpoint == 'vild-text' else f'{name} of {checkpoint}'


class World:
    """One generated dataset, its teacher, and the detectors trained on it.

    Args:
        seed: Seed of everything.
        categories: The category list; None takes the default.
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

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> 'World':
        """Of the arguments of :func:`world_parser`."""
        name = world_name(args.seed, args.categories)
        data, work = args.data or Path('data') / name, args.work or Path('work_dirs') / name
        return cls(args.seed, args.categories, data, work)

    def prepare(self, teacher_of: 'World | None' = None) -> None:
        """Generate the data, train the teacher and encode the vocabulary.

        Args:
            teacher_of: A prepared world of the same categories whose teacher and words are taken.
        """
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
        if teacher_of:
            names = ('imagenet.pth', 'teacher.pt', 'teacher.json', 'text.npz')
            files = [teacher_of.data / 'vild' / name for name in names]
            taken = [data / 'vild' / name for name in names]
            self.steps.run('take the teacher', ['cp', *files, data / 'vild'], taken, files[2:3])
            return
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
        self.encode('encode the vocabulary', data / 'categories.json', text)

    def encode(self, step: str, words: Path, text: Path, inputs: Sequence[Path] = ()) -> None:
        """Let the teacher encode a file of words; see :meth:`Steps.run` for step and inputs."""
        self.steps.run(
            step,
            [sys.executable, HERE.parent / 'encode_vocabulary.py', words, '--model',
             'mini-clip-lite0', '--pretrained', self.data / 'vild' / 'teacher.pt', '--out', text],
            [text],
            inputs,
        )  # fmt: skip

    def fork(self, data: Path | None = None) -> 'World':
        """This world, or other data for its detectors; what is done next, others need not repeat.

        Its steps go on from those before; steps of other forks do not count as before them.
        """
        other = copy(self)
        other.data = data or self.data
        other.steps = copy(self.steps)
        other.steps.env = {**self.steps.env, 'MINI_LVIS': str(other.data)}
        return other

    def extract(
        self,
        method: str = 'region-embeddings',
        store: str = 'vild/regions',
        checkpoint: str = 'vild-text',
    ) -> None:
        """Let a teacher embed regions of the training images.

        Args:
            method: The config; by default of what the raw teacher sees in a detector's proposals.
            store: Where it writes them, below the folder of the dataset.
            checkpoint: The trained method that proposes.
        """
        name = embed_step(store, checkpoint)
        default = name == embed_step()
        folder = method if default else name.replace(' ', '-').replace('/', '-')
        self._stock(
            name,
            'test.py',
            method,
            [self.checkpoint(checkpoint), '--work-dir', self.work / folder],
            [self.data / store],
            [] if default else [f'test_evaluator.path={self.data / store}'],
        )

    def tune_teacher(self) -> None:
        """Tune the norms of the teacher to the training images."""
        self.train('tune-teacher_lite0')
        tuned = self.data / 'ezsd' / 'teacher_tuned.pt'
        tuned.parent.mkdir(exist_ok=True)
        self.steps.run(
            'write the tuned teacher',
            [sys.executable, HERE.parent / 'model_converters' / 'tuned_teacher.py',
             self.config('tune-teacher_lite0'), self.checkpoint('tune-teacher_lite0'), tuned],
            [tuned],
        )  # fmt: skip

    def train(self, method: str, name: str | None = None, options: Sequence[str] = ()) -> None:
        """Train the config of a method, with further options under a name of its own."""
        folder = self.work / (name or method)
        batch_size = Config.fromfile(self.config(method)).train_dataloader.batch_size // PROCESSES
        self._stock(
            f'train {name or method}',
            'train.py',
            method,
            ['--work-dir', folder, '--resume'],
            [folder],
            [f'train_dataloader.batch_size={batch_size}', *options],
        )

    def test(
        self,
        method: str,
        checkpoint: str | None = None,
        name: str | None = None,
        options: Sequence[str] = (),
    ) -> Path:
        """Test a config on the checkpoint of ``checkpoint`` (default: its own), both test sets.

        Args:
            method: The config.
            checkpoint: What was trained, by its name.
            name: Of the results, where it is not the method's; it is of the checkpoint, too, if
                ``checkpoint`` names no other.
            options: Further ``--cfg-options``.

        Returns:
            The folder of the results.
        """
        name = name or method
        folder = self.work / f'{name}-test'
        self._stock(
            f'test {name}',
            'test.py',
            method,
            [self.checkpoint(checkpoint or name), '--work-dir', folder],
            [folder / 'results.bbox.json', folder / 'results.segm.json'],
            [
                f'test_evaluator.outfile_prefix={folder / "results"}',
                'test_evaluator.format_only=True',  # report.py evaluates each test set
                'test_dataloader.dataset.ann_file=annotations/lvis_v1_test_and_unseen.json',
                'test_evaluator.ann_file='
                f'{self.data / "annotations" / "lvis_v1_test_and_unseen.json"}',
                *options,
            ],
        )
        return folder

    def checkpoint(self, method: str) -> Path:
        """The last checkpoint of a trained method."""
        last = self.work / method / 'last_checkpoint'
        # Before the training the name is not known yet, only that mmengine will write it there.
        return Path(last.read_text().strip()) if last.exists() else last

    def log(self, method: str) -> list[dict[str, float]]:
        """The lines that the trainings of a method have logged, in their order."""
        files = sorted((self.work / method).glob('*/vis_data/scalars.json'))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def config(self, method: str) -> str:
        """The config file of a method."""
        return config_of(method)

    def _stock(
        self, name: str, tool: str, method: str, arguments: list, outputs: list, options: list = ()
    ) -> None:
        config = self.config(method)
        python, launcher = [sys.executable], []
        options = [*self._model_options(Config.fromfile(config).model), *options]
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

    def _model_options(self, model: dict) -> list[str]:
        """The number of categories of this world, and the temperature of its teacher."""
        if 'roi_head' not in model:
            return []
        count = len(json.loads((self.data / 'categories.json').read_text()))
        heads = ('bbox_head', 'mask_head')
        options = [f'model.roi_head.{head}.num_classes={count}' for head in heads]
        if 'text_embeddings' in model.roi_head.bbox_head.get('cls_predictor_cfg', {}):
            learned = json.loads((self.data / 'vild' / 'teacher.json').read_text())['learned']
            temperature = round(1 / learned['logit_scale'], 3)
            classifier = 'model.roi_head.bbox_head.cls_predictor_cfg'
            options.append(f'{classifier}.temperature={temperature}')
        return options
