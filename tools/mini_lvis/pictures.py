"""Pictures of novel objects: what is there, and what each method detects."""

import json
import warnings
from collections import defaultdict
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api

from mmdet_vild.vocabulary import is_novel, load_categories

ENLARGE = 3
BASE_COLOUR, NOVEL_COLOUR = (70, 130, 220), (230, 60, 60)
TITLE_HEIGHT = 34


def draw_pictures(
    data: Path,
    results: dict[str, Path],
    out: Path,
    count: int = 6,
    score_thr: float = 0.3,
) -> list[Path]:
    """Draw the test images with most novel objects: annotations, then every method.

    Of detections that overlap by half only the best is drawn.

    Args:
        data: Folder of the dataset.
        results: For each method the folder with its ``results.segm.json``.
        out: Folder of the pictures.
        count: How many.
        score_thr: Detections with a lower score are not drawn.

    Returns:
        The files written. Novel categories are red, base categories blue.
    """
    ann_file = data / 'annotations' / 'lvis_v1_test.json'
    annotations = json.loads(ann_file.read_text())
    categories = load_categories(str(ann_file))
    label_of = {category['id']: label for label, category in enumerate(categories)}
    novel = [is_novel(category) for category in categories]
    visualizer = DetLocalVisualizer(alpha=0.2)
    visualizer.dataset_meta = dict(
        classes=[c['name'] for c in categories],
        palette=[NOVEL_COLOUR if n else BASE_COLOUR for n in novel],
    )
    truth = _by_image(annotations['annotations'])
    detected = {}
    for method, folder in results.items():
        rows = json.loads((folder / 'results.segm.json').read_text())
        detected[method] = _by_image([row for row in rows if row['score'] >= score_thr])

    def num_novel(image: dict) -> int:
        return sum(novel[label_of[a['category_id']]] for a in truth[image['id']])

    images = sorted(annotations['images'], key=num_novel, reverse=True)[:count]
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for image in images:
        path = data / '/'.join(image['coco_url'].split('/')[-2:])
        picture = mmcv.imread(str(path), channel_order='rgb')
        panels = {'annotated (red: novel, blue: base)': truth[image['id']]} | {
            method: _best(by_image[image['id']]) for method, by_image in detected.items()
        }
        drawn = [
            _panel(visualizer, picture, title, _instances(rows, label_of, picture.shape[:2]))
            for title, rows in panels.items()
        ]
        files.append(out / f'{image["id"]:012d}.png')
        mmcv.imwrite(np.concatenate(drawn, axis=1)[..., ::-1], str(files[-1]))
    return files


def _by_image(rows: list[dict]) -> dict[int, list[dict]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row['image_id']].append(row)
    return groups


def _best(rows: list[dict]) -> list[dict]:
    """Detections without those that overlap a better one by half, whatever their words."""
    kept: list[dict] = []
    for row in sorted(rows, key=lambda row: row['score'], reverse=True):
        others = [other['bbox'] for other in kept]
        if not others or mask_api.iou([row['bbox']], others, [0] * len(others)).max() < 0.5:
            kept.append(row)
    return kept


def _instances(rows: list[dict], label_of: dict[int, int], size: tuple[int, int]) -> InstanceData:
    height, width = size
    masks = np.zeros((len(rows), height * ENLARGE, width * ENLARGE), bool)
    for i, row in enumerate(rows):
        segmentation = row['segmentation']
        if isinstance(segmentation, list):
            segmentation = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
        mask = mask_api.decode(segmentation)
        masks[i] = cv2.resize(mask, (width * ENLARGE, height * ENLARGE)) > 0
    ys_xs = [np.nonzero(mask) for mask in masks]
    boxes = [
        (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, 0, 0) for y, x in ys_xs
    ]
    instances = InstanceData(
        bboxes=torch.tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)),
        labels=torch.tensor([label_of[row['category_id']] for row in rows], dtype=torch.long),
        masks=torch.from_numpy(masks),
    )
    if rows and 'score' in rows[0]:
        instances.scores = torch.tensor([row['score'] for row in rows])
    return instances


def _panel(
    visualizer: DetLocalVisualizer, picture: np.ndarray, title: str, instances: InstanceData
) -> np.ndarray:
    enlarged = cv2.resize(picture, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    # As ground truth, because annotations have no scores, which it requires of predictions.
    with warnings.catch_warnings():
        # An object at the border is no mistake.
        warnings.filterwarnings('ignore', message='Warning: The (bbox|polygon) is out of bounds')
        visualizer.add_datasample(
            title, enlarged, DetDataSample(gt_instances=instances), draw_pred=False
        )
    drawn = visualizer.get_image()
    head = np.full((TITLE_HEIGHT, drawn.shape[1], 3), 255, np.uint8)
    cv2.putText(
        head, title, (10, TITLE_HEIGHT - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2,
        cv2.LINE_AA,
    )  # fmt: skip
    return np.concatenate([head, drawn])
