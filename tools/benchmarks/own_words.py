"""How well a detector finds words that are asked for, with and without the vocabulary's others.

    python tools/benchmarks/own_words.py configs/mini_lvis/vild_r18-mini_fpn_mini-lvis.py \\
        work_dirs/mini_lvis/vild/iter_600.pth

Every image of the config's test dataset is asked for some of its categories, at random. AP50 is
that of mmdet's ``eval_map``, over all images and words together; and of the detections above a
score it says how many are right. Prints Markdown.
"""

import argparse
import random

import numpy as np
from mmdet.apis import inference_detector
from mmdet.evaluation import eval_map
from mmdet.registry import DATASETS
from mmengine.config import Config, DictAction
from tqdm import tqdm

from mmdet_vild import load_detector


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config of a ViLD')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--words', type=int, nargs='+', default=[2, 5], help='asked for at a time')
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
    print('| words | competing | objects | AP50 | detections above | right |')
    print('|---:|---|---:|---:|---:|---:|')
    for count in args.words:
        for with_vocabulary in (True, False):
            model.roi_head.test_cfg.with_vocabulary = with_vocabulary
            found, wanted = detect(model, dataset, count, args.images)
            _, (result,) = eval_map(found, wanted, iou_thr=0.5, logger='silent')
            above = sum(int((dets[:, 4] > args.score).sum()) for (dets,) in found)
            right = f'{100 * result["precision"][above - 1]:.0f}%' if above else '-'
            words = 'the vocabulary' if with_vocabulary else 'the words alone'
            print(
                f'| {count} | {words} | {result["num_gts"]} | {100 * result["ap"]:.1f} '
                f'| {above} | {right} |'
            )


def detect(model, dataset, count: int, images: int) -> tuple[list, list]:
    """Ask each image for words at random; what is found and annotated, for each image and word."""
    names = dataset.metainfo['classes']
    draw = random.Random(0)
    found, wanted = [], []
    for index in tqdm(range(min(images, len(dataset))), desc=f'{count} words'):
        info = dataset.get_data_info(index)
        asked = draw.sample(range(len(names)), count)
        words = [names[label] for label in asked]
        sample = inference_detector(
            model, info['img_path'], text_prompt=words, custom_entities=True
        ).cpu()
        instances = sample.pred_instances.numpy()
        detections = np.concatenate([instances.bboxes, instances.scores[:, None]], axis=1)
        for row, label in enumerate(asked):
            boxes = [i['bbox'] for i in info['instances'] if i['bbox_label'] == label]
            found.append([detections[instances.labels == row]])
            wanted.append(
                dict(
                    bboxes=np.array(boxes, np.float32).reshape(-1, 4),
                    labels=np.zeros(len(boxes), int),
                )
            )
    return found, wanted


if __name__ == '__main__':
    main()
