"""Which words objects are mistaken for, novel and base ones: one HTML page with pictures.

    python $TOOLS/test.py CONFIG CHECKPOINT \\
        --cfg-options test_evaluator.outfile_prefix=work_dirs/vild/results
    python tools/analysis/confusion_report.py CONFIG work_dirs/vild/results.bbox.json

Every annotated object is found, called something else, or missed, by the surest detection that
overlaps it at an IoU of 0.5. Nothing in the results is executed, which a pickle's could be
(``test.py --out``). For false positives, where nothing is annotated, and for AP, see MMDetection's
own ``analysis_tools/confusion_matrix.py`` and ``coco_error_analysis.py``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from confusion import judge_all
from confusion_page import Page
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config, DictAction
from results_file import read_results
from torch.utils.data import Dataset

import mmdet_vild  # noqa: F401 - registers the datasets
from mmdet_vild.options import CountOrZero, Fraction, check_option


def build_dataset(config: Config) -> Dataset:
    """Build the test dataset, without its pipeline.

    Raises:
        ValueError: It does not say which of its categories are novel, or is none in COCO's or
            LVIS's format.
    """
    dataset = DATASETS.build({**config.test_dataloader.dataset, 'pipeline': []})
    if not hasattr(dataset, 'cat2label') or dataset.metainfo.get('novel_classes') is None:
        raise ValueError(
            f'the test dataset is a {type(dataset).__name__}, which does not say which of its '
            'categories are novel; expected OpenVocabularyLVISDataset or '
            'OpenVocabularyCocoDataset, as in --cfg-options '
            'test_dataloader.dataset.type=OpenVocabularyCocoDataset '
            'test_dataloader.dataset.metainfo.novel_classes="[cat,dog]"'
        )
    return dataset


def write_report(args: argparse.Namespace) -> None:
    """Judge the detections, and write the page.

    Raises:
        FileNotFoundError: There is no such config, annotation file, results file or image.
        ValueError: The results are malformed or of another dataset, or the dataset or a picture
            is not fit.
    """
    check_option(args.score_thr, Fraction, '--score-thr')
    check_option(args.pairs, CountOrZero, '--pairs')
    register_all_modules()
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options)
    dataset = build_dataset(config)
    detections = read_results(args.results, dataset)
    objects = judge_all(dataset, detections, args.score_thr)
    without = len(dataset) - len(np.unique(detections['image_id']))
    notes = [
        f'{args.results}: {len(detections["score"])} detections in {len(dataset)} images of '
        f'{dataset.ann_file}.',
        'An object is found if the surest detection that overlaps it at an IoU of 0.5 has its '
        'word, called something else if that has another, and missed if there is none'
        + (f' (of a score of {args.score_thr} or more).' if args.score_thr else '.')
        + ' A detection that overlaps objects of several words belongs to that of its own word. '
        '★ marks novel words. In pictures, white is annotated, and orange detected.',
    ]
    if without:
        notes.append(f'{without} of the images have no detection at all.')
    out = args.out or args.results.parent / 'confusion.html'
    page = Page(dataset, objects, args.pairs).html(f'Confusions of {Path(args.config).stem}', notes)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding='utf-8')
    print(f'wrote {out}: {len(objects.label)} objects, {without} images without detections')


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config that was tested')
    parser.add_argument('results', type=Path, help='.bbox.json or .segm.json')
    parser.add_argument('--out', type=Path, help='the page (default: confusion.html beside it)')
    parser.add_argument(
        '--score-thr', type=float, default=0.0, help='leave out detections below (default: none)'
    )
    parser.add_argument(
        '--pairs', type=int, default=10, help='confusions with pictures (default: %(default)s)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args(argv)
    try:
        write_report(args)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
