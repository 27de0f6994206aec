"""How many of a store's regions lie on objects, also on those that nobody annotated."""

import json
from pathlib import Path

import numpy as np
import torch
from crops import object_box
from drawings import find_drawings
from generate import Painter, image_id
from torchvision.ops import box_iou

from mmdet_vild.embedding_store import EmbeddingStore


def shares(
    data: Path,
    store: Path,
    drawings: Path | None = None,
    images: int = 200,
    regions: int = 20,
    iou: float = 0.5,
) -> dict[str, float]:
    """Compare the best regions of training images with all that was painted there.

    The training annotations say nothing of novel objects: the scenes are painted once more.
    Regions that were annotated do not count.

    Args:
        data: Folder of the dataset.
        store: The embedding store.
        drawings: Folder of the drawings (default: fetched and kept in the cache).
        images: How many images at most, the first ones.
        regions: How many of an image at most, those of the highest scores.
        iou: From what overlap on a region is on an object, and the object found.

    Returns:
        ``rows on novel`` and ``rows on base``, shares of the regions; ``novel found`` and
        ``base found``, shares of the objects.
    """
    world = json.loads((data / 'world.json').read_text(encoding='utf-8'))
    painter, records = Painter(world, drawings or find_drawings()), EmbeddingStore(store)
    novel_names = {c['name'] for c in world['categories'] if c['frequency'] == 'r'}
    on, found, novel = [], [], []
    for index in range(min(images, world['train'])):
        scene = painter.scene('train', index)
        seen = [i for i in range(len(scene.drawings)) if (scene.owners == i).any()]
        if not seen:
            continue
        is_novel = np.array([scene.drawings[i].category in novel_names for i in seen])
        objects = torch.tensor(np.array([object_box(scene, i) for i in seen]))
        image = dict(img_id=image_id(world, 'train', index), ori_shape=scene.stuff.shape)
        record = records.read(image)
        best_first = record.boxes[~record.annotated][:regions]
        overlaps = box_iou(torch.from_numpy(best_first).double(), objects).numpy()
        best = overlaps.argmax(1)
        on.extend(np.where(overlaps.max(1) >= iou, np.where(is_novel[best], 2, 1), 0))
        found.extend((overlaps >= iou).any(0))
        novel.extend(is_novel)
    on, found, novel = np.array(on), np.array(found), np.array(novel)
    return {
        'rows on novel': float((on == 2).mean()),
        'rows on base': float((on == 1).mean()),
        'novel found': float(found[novel].mean()),
        'base found': float(found[~novel].mean()),
    }
