"""Pictures of novel objects: what is there, and what each method detects."""

import json
import tempfile
from collections import defaultdict
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

ENLARGE, TITLE_HEIGHT = 3, 34


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
    visualizer = OpenVocabularyVisualizer('pictures')
    visualizer.dataset_meta = dict(
        classes=[c['name'] for c in categories],
        base_classes=[c['name'] for c, n in zip(categories, novel, strict=True) if not n],
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
            _panel(visualizer, picture, title, by_image[image['id']], label_of)
            for title, by_image in panels.items()
        ]
        files.append(out / f'{image["id"]:012d}.png')
        mmcv.imwrite(np.concatenate(drawn, axis=1), str(files[-1]))
    return files


def _by_image(rows: list[dict]) -> dict[int, list[dict]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row['image_id']].append(row)
    return groups


def _panel(
    visualizer: OpenVocabularyVisualizer,
    picture: np.ndarray,
    title: str,
    rows: list[dict],
    label_of: dict[int, int],
) -> np.ndarray:
    """A picture, BGR, with what a method says of it, below its name."""
    height, width = picture.shape[:2]
    masks = np.zeros((len(rows), height, width), bool)
    for mask, row in zip(masks, rows, strict=True):
        segmentation = row['segmentation']
        if isinstance(segmentation, list):
            segmentation = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
        mask[:] = mask_api.decode(segmentation)
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
    sample = DetDataSample(**{'pred_instances' if detected else 'gt_instances': instances})
    visualizer.min_size = ENLARGE * max(height, width)
    with tempfile.TemporaryDirectory() as folder:
        out_file = f'{folder}/drawn.png'
        visualizer.add_datasample(
            title, picture, sample, not detected, detected, out_file=out_file, pred_score_thr=0
        )
        drawn = mmcv.imread(out_file)
    head = np.full((TITLE_HEIGHT, drawn.shape[1], 3), 255, np.uint8)
    cv2.putText(
        head, title, (10, TITLE_HEIGHT - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2,
        cv2.LINE_AA,
    )  # fmt: skip
    return np.concatenate([head, drawn])
