"""The steps from the mini world and its teacher to tested segmentors."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import HERE, World
from segment_words import WORDS

from mmdet_vild import config_path

#: Rows of the tables, and the config that trains each.
TRAINED = {
    'plain': 'gkc-plain',
    'synonyms: random': 'gkc-synonyms',
    'synonyms: max': 'gkc-synonyms-max',
    'synonyms: mean': 'gkc-synonyms-mean',
    'feature distillation': 'gkc-feature',
    'text-guided distillation': 'gkc-text-guided',
    'GKC: synonyms and text-guided': 'gkc',
}
#: What each of them starts from, by ``init_cfg``: ``--resume`` leaves no ``load_from``.
START = 'gkc-start'
RIVAL = 'the teacher on every mask of plain'
BOUND = 'the teacher on true masks'
#: The words that a test asks by.
ASKED = ('names', 'held_out')
#: The splits that are tested, in the order of the configs.
SPLITS = ('test', 'unseen')
#: As configs/_base_/models/gkc_mini.py has it.
NUM_CLASSES = 235


class SegmentWorld(World):
    """A world with the words and the store of segments, and the segmentors trained on it.

    Arguments are those of :class:`World`.
    """

    def prepare(self) -> None:
        """Generate the data, train the teacher, embed the segments, train what all start from."""
        super().prepare()
        data, python = self.data, sys.executable
        files = [data / 'gkc' / f'{name}.json' for name in WORDS]
        lists = [data / 'gkc' / f'{split}.txt' for split in ('train', 'val', *SPLITS)]
        words = HERE / 'segment_words.py'
        self.steps.run('choose the words', [python, words, data], [*files, *lists], [words])
        for name, file in zip(WORDS, files, strict=True):
            step = f'encode the {name.replace("_", "-")} words'
            self.encode(step, file, file.with_suffix('.npz'), [file])
        self._stock(
            'embed the segments',
            'test.py',
            'segment-embeddings',
            # The tool wants a checkpoint; nothing is taken of it.
            [data / 'vild' / 'imagenet.pth', '--work-dir', self.work / 'segment-embeddings'],
            [data / 'gkc' / 'segments'],
        )
        super().train(START)

    def train(self, method: str, name: str | None = None, options: Sequence[str] = ()) -> None:
        """As :meth:`World.train`, of what :meth:`prepare` has trained."""
        start = f'model.init_cfg.checkpoint={self.checkpoint(START)}'
        super().train(method, name, ('model.init_cfg.type=Pretrained', start, *options))

    def test(self, method: str, checkpoint: str | None = None, words: str = 'names') -> Path:
        """Test a config on the checkpoint of ``checkpoint`` (default: its own), both test sets.

        Args:
            method: Start of the config's name.
            checkpoint: Of which method.
            words: One of ``ASKED``: what it is asked by.

        Returns:
            The folder with the counted pixels, ``test.json`` and ``unseen.json``.
        """
        folder = self.work / f'{method}-test' / words
        files = [folder / f'{split}.json' for split in SPLITS]
        self._stock(
            f'test {method} by {words.replace("_", "-")}',
            'test.py',
            method,
            [self.checkpoint(checkpoint or method), '--work-dir', folder],
            files,
            [
                *(f'test_evaluator.metrics.{i}.out_file={file}' for i, file in enumerate(files)),
                'model.panoptic_head.cls_predictor_cfg.text_embeddings='
                f'{self.data / "gkc" / words}.npz',
            ],
        )
        return folder

    def test_true_masks(self, words: str = 'names') -> Path:
        """Let the teacher name the true masks of both test sets; returns as :meth:`test`."""
        folder, tool = self.work / 'true-masks' / words, HERE / 'true_masks.py'
        self.steps.run(
            f'name true masks by {words.replace("_", "-")}',
            [sys.executable, tool, self.data, '--words', words, '--out', folder],
            [folder / f'{split}.json' for split in SPLITS],
            [tool],
        )
        return folder

    def time(self, tested: dict[str, tuple[Path, str]]) -> dict[str, float]:
        """Milliseconds a picture of segmentors.

        Args:
            tested: Of each row the folder of a test, and the method whose checkpoint it has.
        """
        out, tool = self.work / 'segment_times.json', HERE / 'segment_times.py'
        models = [
            f'{row}={next(folder.glob("*.py"))},{self.checkpoint(method)}'
            for row, (folder, method) in tested.items()
        ]
        self.steps.run(
            'time the segmentors',
            [sys.executable, tool, self.data, '--out', out, *models],
            [out],
            [tool],
        )
        return json.loads(out.read_text())

    def learned_scale(self, method: str) -> float | None:
        """The last k that the log of a training has; None where there is none."""
        scales = [line['distill_scale'] for line in self.log(method) if 'distill_scale' in line]
        return scales[-1] if scales else None

    def config(self, method: str) -> str:
        """The config file of a method."""
        return config_path(f'mini_lvis/{method}_lite0_mini-lvis.py')

    def _model_options(self, model: dict) -> list[str]:
        """How many classes this world has, where that is not what the configs say."""
        count = len(json.loads((self.data / 'semantic_classes.json').read_text()))
        if count == NUM_CLASSES or 'panoptic_head' not in model:
            return []
        heads = ('panoptic_head', 'panoptic_fusion_head')
        weights = ','.join(['1.0'] * count + ['0.1'])
        return [
            *(f'model.{head}.num_things_classes={count}' for head in heads),
            f'model.panoptic_head.loss_cls.class_weight={weights}',
        ]
