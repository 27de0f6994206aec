"""How well a detector finds words that are asked for, with and without the vocabulary's others.

    python tools/benchmarks/own_words.py work_dirs/mini_lvis/vild/vild_lite0_fpn_mini-lvis.py \\
        work_dirs/mini_lvis/vild/iter_700.pth

Every image of the config's test dataset is asked for some of its categories, at random. AP50 is
that of mmdet's ``eval_map``, over all images and words together; and of the detections above a
score it says how many are right. Prints Markdown. With ``--examples`` pictures take the place of
words: annotated objects of the config's validation dataset, but for those of the image itself.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from mmdet.apis import inference_detector
from mmdet.evaluation import eval_map
from mmdet.registry import DATASETS
from mmengine.config import Config, DictAction
from tqdm import tqdm

from mmdet_vild import load_detector

#: Of an example, the shorter side in pixels.
SMALLEST = 16


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config of a ViLD')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--words', type=int, nargs='+', default=[2, 5], help='asked for at a time')
    parser.add_argument('--examples', type=int, default=0, help='pictures in place of a word')
    parser.add_argument('--novel', action='store_true', help='ask for novel categories alone')
    parser.add_argument('--images', type=int, default=150, help='the first ones')
    parser.add_argument('--score', type=float, default=0.5, help='of detections that are counted')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as in test.py')
    args = parser.parse_args()
    if min(*args.words, args.images) < 1:
        parser.error('the sizes must be positive')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    model = load_detector(cfg, args.checkpoint, args.device)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    labels = pictures = None
    if args.novel:
        names, novel = (dataset.metainfo[key] for key in ('classes', 'novel_classes'))
        labels = [names.index(name) for name in novel]
    known = len(dataset.metainfo['classes'] if labels is None else labels)
    if max(args.words) > known:
        parser.error(f'--words {max(args.words)} of {known} categories that may be asked for')
    if args.examples:
        pictures = Pictures(DATASETS.build(cfg.val_dataloader.dataset), args.examples)
    print('| words | competing | objects | AP50 | detections above | right |')
    print('|---:|---|---:|---:|---:|---:|')
    for count in args.words:
        for with_vocabulary in (True, False):
            model.roi_head.test_cfg.with_vocabulary = with_vocabulary
            found, wanted = detect(model, dataset, count, args.images, labels, pictures)
            _, (result,) = eval_map(found, wanted, iou_thr=0.5, logger='silent')
            above = sum(int((dets[:, 4] > args.score).sum()) for (dets,) in found)
            right = f'{100 * result["precision"][above - 1]:.0f}%' if above else '-'
            words = 'the vocabulary' if with_vocabulary else 'the words alone'
            print(
                f'| {count} | {words} | {result["num_gts"]} | {100 * result["ap"]:.1f} '
                f'| {above} | {right} |'
            )


def detect(
    model,
    dataset,
    count: int,
    images: int,
    labels: Sequence[int] | None = None,
    pictures: Callable[[int, str], list[dict]] | None = None,
) -> tuple[list, list]:
    """Ask each image for words at random; what is found and annotated, for each image and word.

    Args:
        model: A ViLD.
        dataset: Of the images.
        count: How many words an image is asked for.
        images: How many are asked.
        labels: The categories that may be asked for; default: all.
        pictures: Gives the examples of a label for an image path, in place of the word.
    """
    names = dataset.metainfo['classes']
    labels = range(len(names)) if labels is None else labels
    draw = random.Random(0)
    found, wanted = [], []
    for index in tqdm(range(min(images, len(dataset))), desc=f'{count} words'):
        info = dataset.get_data_info(index)
        asked = draw.sample(labels, count)
        words = [names[label] for label in asked]
        if pictures:
            words = [
                dict(name=names[label], examples=pictures(label, info['img_path']))
                for label in asked
            ]
        sample = inference_detector(
            model, info['img_path'], text_prompt=words, custom_entities=True
        ).cpu()
        instances = sample.pred_instances.numpy()
        detections = np.concatenate([instances.bboxes, instances.scores[:, None]], axis=1)
        for row, label in enumerate(asked):
            boxes = [
                each['bbox']
                for each in info['instances']
                if each['bbox_label'] == label and not each['ignore_flag']
            ]
            found.append([detections[instances.labels == row]])
            wanted.append(
                dict(
                    bboxes=np.array(boxes, np.float32).reshape(-1, 4),
                    labels=np.zeros(len(boxes), int),
                )
            )
    return found, wanted


class Pictures:
    """The annotated objects of a dataset, as pictures in place of words, in a random order.

    Args:
        dataset: It has annotations.
        count: How many pictures to give for a word.
    """

    def __init__(self, dataset, count: int) -> None:
        self.count = count
        self._of = defaultdict(list)
        for info in map(dataset.get_data_info, range(len(dataset))):
            for instance in info['instances']:
                x1, y1, x2, y2 = instance['bbox']
                if not instance['ignore_flag'] and min(x2 - x1, y2 - y1) >= SMALLEST:
                    example = dict(image=info['img_path'], box=instance['bbox'])
                    self._of[instance['bbox_label']].append(example)
        draw = random.Random(0)
        for examples in self._of.values():
            draw.shuffle(examples)

    def __call__(self, label: int, path: str) -> list[dict]:
        """Examples of a category that are not of the image itself.

        Raises:
            ValueError: There are none.
        """
        others = [each for each in self._of[label] if each['image'] != path]
        if not others:
            raise ValueError(
                f'the validation dataset has no object of label {label} of {SMALLEST} pixels or '
                f'more that could be an example for {path}; leave out --examples'
            )
        return others[: self.count]


if __name__ == '__main__':
    main()
