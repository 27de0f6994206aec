"""Pictures of novel objects: what is there, and what each method detects."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api

from mmdet_vild.visualization import OpenVocabularyVisualizer
from mmdet_vild.vocabulary import is_novel, load_categories

#: So that letters are legible where two panels share a page's width of 830 pixels.
ENLARGE, FONT_SCALE, TITLE_HEIGHT = 4, 1.6, 48
COLUMNS = 2


def draw_pictures(
    data: Path,
    results: dict[str, Path],
    out: Path,
    count: int = 6,
    score_thr: float = 0.3,
) -> list[Path]:
    """Draw the test images with most novel objects: annotations, then every method.

    Args:
        data: Folder of the dataset.
        results: For each method the folder with its ``results.segm.json``.
        out: Folder of the pictures.
        count: How many.
        score_thr: Detections with a lower score are not drawn.

    Returns:
        The files written; see :class:`OpenVocabularyVisualizer` for what is drawn.
    """
    ann_file = data / 'annotations' / 'lvis_v1_test.json'
    annotations = json.loads(ann_file.read_text())
    categories = load_categories(str(ann_file))
    label_of = {category['id']: label for label, category in enumerate(categories)}
    novel = [is_novel(category) for category in categories]
    visualizer = make_visualizer(
        [c['name'] for c in categories],
        [c['name'] for c, n in zip(categories, novel, strict=True) if not n],
    )
    rows = {'annotated (star: novel)': annotations['annotations']}
    for method, folder in results.items():
        detected = json.loads((folder / 'results.segm.json').read_text())
        rows[method] = [row for row in detected if row['score'] >= score_thr]
    panels = {title: _by_image(each) for title, each in rows.items()}
    truth = next(iter(panels.values()))

    def num_novel(image: dict) -> int:
        return sum(novel[label_of[a['category_id']]] for a in truth[image['id']])

    images = sorted(annotations['images'], key=num_novel, reverse=True)[:count]
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for image in images:
        path = data / '/'.join(image['coco_url'].split('/')[-2:])
        picture = mmcv.imread(str(path), channel_order='rgb')
        drawn = [
            panel(visualizer, picture, title, _sample(picture, by_image[image['id']], label_of))
            for title, by_image in panels.items()
        ]
        files.append(out / f'{image["id"]:012d}.png')
        mmcv.imwrite(in_columns(drawn), str(files[-1]))
    return files


def in_columns(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels of one size, (H, W, 3), in rows of ``COLUMNS``, the rest of the last one white."""
    blank = [np.full_like(panels[0], 255)] * (-len(panels) % COLUMNS)
    panels = [*panels, *blank]
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def make_visualizer(names: Sequence[str], base: Sequence[str]) -> OpenVocabularyVisualizer:
    """The project's own, for figures of ``COLUMNS``."""
    visualizer = OpenVocabularyVisualizer('pictures', font_scale=FONT_SCALE)
    visualizer.dataset_meta = dict(classes=names, base_classes=base)
    return visualizer


def panel(
    visualizer: OpenVocabularyVisualizer, picture: np.ndarray, title: str, sample: DetDataSample
) -> np.ndarray:
    """A picture, RGB, with a sample's predictions, or else annotations, below a title: BGR."""
    detected = 'pred_instances' in sample or 'pred_sem_seg' in sample
    visualizer.min_size = ENLARGE * max(picture.shape[:2])
    with tempfile.TemporaryDirectory() as folder:
        out_file = f'{folder}/drawn.png'
        visualizer.add_datasample(
            title, picture, sample, not detected, detected, out_file=out_file, pred_score_thr=0
        )
        drawn = mmcv.imread(out_file)
    head = np.full((TITLE_HEIGHT, drawn.shape[1], 3), 255, np.uint8)
    cv2.putText(
        head, title, (10, TITLE_HEIGHT - 14), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (0, 0, 0), 2,
        cv2.LINE_AA,
    )  # fmt: skip
    return np.concatenate([head, drawn])


def _by_image(rows: list[dict]) -> dict[int, list[dict]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row['image_id']].append(row)
    return groups


def _sample(picture: np.ndarray, rows: list[dict], label_of: dict[int, int]) -> DetDataSample:
    """The annotations or detections of a picture as MMDetection has them."""
    height, width = picture.shape[:2]
    masks = np.zeros((len(rows), height, width), bool)
    for mask, row in zip(masks, rows, strict=True):
        mask[:] = mask_api.decode(row['segmentation'])
    boxes = np.array([row['bbox'] for row in rows], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances = InstanceData(
        bboxes=torch.from_numpy(boxes),
        labels=torch.tensor([label_of[row['category_id']] for row in rows], dtype=torch.long),
        masks=masks,
    )
    detected = bool(rows) and 'score' in rows[0]
    if detected:
        instances.scores = torch.tensor([row['score'] for row in rows])
    return DetDataSample(**{'pred_instances' if detected else 'gt_instances': instances})
