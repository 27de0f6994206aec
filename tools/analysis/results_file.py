"""Reading what the test tool wrote."""

import json
from array import array
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset


def read_results(path: Path, dataset: Dataset) -> dict[str, np.ndarray]:
    """Read detections, one by one, so that there are never millions of Python objects.

    Args:
        path: Detections in COCO's format, as ``CocoMetric`` and ``LVISMetric`` write them with
            ``outfile_prefix``: ``.bbox.json`` or ``.segm.json``.
        dataset: The dataset that was tested on.

    Returns:
        ``image_id`` (n,) int64, ``label`` (n,) int64, ``score`` (n,) float32 and ``box`` (n, 4)
        float32, ``x1, y1, x2, y2`` in pixels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, is empty, or is of another dataset.
    """
    expected = (
        'expected the detections that the test tool writes with '
        '--cfg-options test_evaluator.outfile_prefix=FOLDER/results'
    )
    if not path.is_file():
        raise FileNotFoundError(f'there is no results file at {path}; {expected}')
    images, categories, scores, boxes = array('q'), array('q'), array('f'), array('f')

    def keep(row: dict) -> None:
        if 'size' in row and 'counts' in row:  # the mask of a detection
            return
        box = row['bbox']
        if len(box) != 4:
            raise ValueError(f'a bbox is {box}')
        images.append(row['image_id'])
        categories.append(row['category_id'])
        scores.append(row['score'])
        boxes.extend(box)

    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file, object_hook=keep)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f'{path} cannot be read ({type(error).__name__}: {error}); {expected}'
        ) from error
    if not isinstance(content, list):
        raise ValueError(f'{path} is no list; {expected}')
    if not len(images):
        raise ValueError(f'{path} holds no detections: {expected}')

    image_ids = np.array(images)
    known = {dataset.get_data_info(index)['img_id'] for index in range(len(dataset))}
    for what, ids, there in (
        ('images', image_ids, known),
        ('categories', np.array(categories), set(dataset.cat2label)),
    ):
        unknown = sorted(set(ids.tolist()) - there)
        if unknown:
            raise ValueError(
                f'{path} has detections of {len(unknown)} {what} that {dataset.ann_file} does not '
                f'have among its {len(there)}, such as id {unknown[0]}; name the config, and the '
                '--cfg-options, that these results were made with'
            )
    xywh = np.array(boxes, np.float32).reshape(-1, 4)
    return {
        'image_id': image_ids,
        'label': np.array([dataset.cat2label[i] for i in categories]),
        'score': np.array(scores),
        'box': np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
    }
