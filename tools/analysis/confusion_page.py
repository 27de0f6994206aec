"""The confusion report as one HTML page, with everything in it."""

import base64
import os
from collections import Counter
from html import escape

import cv2
import mmcv
import numpy as np
from confusion import MISSED, Objects
from mmengine import fileio
from torch.utils.data import Dataset

#: Longer side of a picture, and how much of the surroundings it shows, as a share of the objects.
CROP, MARGIN = 190, 0.3
#: The annotated box and the detection's, BGR.
ANNOTATED, DETECTED = (255, 255, 255), (0, 159, 230)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2em auto; max-width: 1080px;
  padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2em }
table { border-collapse: collapse; margin: .8em 0 }
th, td { padding: .3em .7em; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }
th:first-child, td:first-child, td.words, th.words { text-align: left }
th { font-weight: 600; border-bottom: 2px solid #999 }
.novel, .base, td:not(.words) { white-space: nowrap }
.novel { color: #b04000; font-weight: 600 }
.bar { display: flex; width: 160px; height: 1.1em; margin-top: .15em }
.found { background: #0072b2 } .other { background: #e69f00 } .missed { background: #c8c8c8 }
.key { display: inline-block; width: .9em; height: .9em; margin: 0 .3em 0 1em }
.pair { margin: 1.4em 0 .4em } .crops { display: flex; flex-wrap: wrap; gap: 10px }
figure { margin: 0; width: 190px } figcaption { font-size: 12px; color: #555 }
summary { cursor: pointer; font-size: 1.25em; font-weight: 600; margin-top: 2em }
p.note { color: #555; max-width: 46em }
"""


class Page:
    """Puts the report together.

    Args:
        dataset: The dataset that was tested on.
        objects: What became of its objects.
        num_pairs: Of how many confusions pictures are shown, for novel and for base objects each.
        num_crops: How many pictures of each.
    """

    def __init__(
        self, dataset: Dataset, objects: Objects, num_pairs: int = 10, num_crops: int = 5
    ) -> None:
        self.dataset = dataset
        self.objects = objects
        self.names = dataset.metainfo['classes']
        novel = set(dataset.metainfo['novel_classes'])
        self.novel = np.array([name in novel for name in self.names])
        self.right = objects.called == objects.label
        self.missed = objects.called == MISSED
        self.wrong = ~self.right & ~self.missed
        self.of_novel = self.novel[objects.label]
        self.num_pairs, self.num_crops = num_pairs, num_crops

    def html(self, title: str, notes: list[str]) -> str:
        """The page.

        Args:
            title: Plain text.
            notes: Plain text, a paragraph each.
        """
        parts = [
            f'<h1>{escape(title)}</h1>',
            *(f'<p class="note">{escape(note)}</p>' for note in notes),
            self._summary(),
            '<h2>Novel categories</h2>',
            self._categories(self.novel),
            self._pictures('What novel objects are mistaken for', self.of_novel),
            '<details><summary>Base categories</summary>',
            self._categories(~self.novel),
            self._pictures('What base objects are mistaken for', ~self.of_novel),
            '</details>',
        ]
        head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        body = '\n'.join(parts)
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>'
        )

    def _summary(self) -> str:
        """Novel against base."""
        rows = []
        for group, of in (('novel', self.of_novel), ('base', ~self.of_novel)):
            wrong = self.wrong & of
            to_novel = (wrong & self.novel[self.objects.called]).sum()
            shares = (self.right & of, wrong, wrong & self.objects.also, self.missed & of)
            total = max(of.sum(), 1)
            cells = [
                f'<td class="{group}">{"★ " * (group == "novel")}{group}</td>',
                f'<td>{self._bar(of)}</td><td>{of.sum()}</td>',
                *(f'<td>{share.sum()} ({share.sum() / total:.0%})</td>' for share in shares),
                f'<td>{to_novel}</td><td>{wrong.sum() - to_novel}</td>',
            ]
            rows.append(f'<tr>{"".join(cells)}</tr>')
        return (
            '<table><tr><th>objects</th><th></th><th>number</th><th>found</th>'
            '<th>called something else</th><th>… its own word less surely</th><th>missed</th>'
            '<th>called a novel word</th><th>a base word</th></tr>' + ''.join(rows) + '</table>'
            '<p class="note"><span class="key found"></span>found'
            '<span class="key other"></span>called something else'
            '<span class="key missed"></span>missed</p>'
        )

    def _bar(self, of: np.ndarray) -> str:
        total = max(of.sum(), 1)
        parts = (('found', self.right), ('other', self.wrong), ('missed', self.missed))
        return (
            '<div class="bar">'
            + ''.join(
                f'<div class="{name}" style="width:{100 * (of & mask).sum() / total:.1f}%"></div>'
                for name, mask in parts
            )
            + '</div>'
        )

    def _categories(self, which: np.ndarray) -> str:
        """A row a category, those with most mistakes first."""
        objects = self.objects
        rows = []
        for label in np.flatnonzero(which):
            of = objects.label == label
            if not of.any():
                continue
            wrong = (self.wrong & of).sum()
            others = Counter(objects.called[self.wrong & of].tolist()).most_common(4)
            words = ', '.join(f'{self._word(other)}&nbsp;{count}' for other, count in others)
            rows.append(
                (
                    -(self.wrong | self.missed)[of].sum(),
                    f'<tr><td>{self._word(label)}</td><td>{self._bar(of)}</td><td>{of.sum()}</td>'
                    f'<td>{(self.right & of).sum()}</td><td>{wrong}</td>'
                    f'<td>{(self.missed & of).sum()}</td><td class="words">{words}</td></tr>',
                )
            )
        if not rows:
            return '<p>No objects are annotated.</p>'
        rows.sort(key=lambda row: row[0])
        return (
            '<table><tr><th>category</th><th></th><th>objects</th><th>found</th>'
            '<th>called something else</th><th>missed</th><th class="words">called most often</th>'
            '</tr>' + ''.join(row for _, row in rows) + '</table>'
        )

    def _pictures(self, title: str, of: np.ndarray) -> str:
        """The most frequent confusions, and the surest mistakes of each."""
        if not self.num_pairs:
            return ''
        objects = self.objects
        wrong = np.flatnonzero(self.wrong & of)
        pairs = Counter(
            zip(objects.label[wrong].tolist(), objects.called[wrong].tolist(), strict=True)
        )
        parts = [f'<h2>{title}</h2>']
        if not pairs:
            parts.append('<p>None is called by another word.</p>')
        for (label, called), count in pairs.most_common(self.num_pairs):
            rows = wrong[(objects.label[wrong] == label) & (objects.called[wrong] == called)]
            surest = rows[np.argsort(-objects.score[rows], kind='stable')][: self.num_crops]
            figures = ''.join(self._figure(row) for row in surest)
            parts.append(
                f'<p class="pair">{self._word(label)} called {self._word(called)}: {count} ×</p>'
                f'<div class="crops">{figures}</div>'
            )
        return ''.join(parts)

    def _figure(self, row: int) -> str:
        objects = self.objects
        info = self.dataset.get_data_info(int(objects.image[row]))
        boxes = np.stack([objects.box[row], objects.found[row]])
        crop = _crop(_read(info['img_path'], self.dataset), boxes)
        encoded = base64.b64encode(cv2.imencode('.jpg', crop)[1].tobytes()).decode()
        return (
            f'<figure><img src="data:image/jpeg;base64,{encoded}" alt=""><figcaption>'
            f'score {objects.score[row]:.2f}, image {escape(str(info["img_id"]))}'
            '</figcaption></figure>'
        )

    def _word(self, label: int) -> str:
        """A category's name in HTML."""
        name = escape(self.names[label])
        return (
            f'<span class="novel">★ {name}</span>'
            if self.novel[label]
            else f'<span class="base">{name}</span>'
        )


def _read(path: str, dataset: Dataset) -> np.ndarray:
    """Read an image of the dataset."""
    folder = os.path.abspath(dataset.data_prefix['img'])
    if os.path.commonpath([folder, os.path.abspath(path)]) != folder:
        raise ValueError(f'{path}, named in {dataset.ann_file}, is outside of {folder}')
    try:
        image = mmcv.imfrombytes(fileio.get(path, backend_args=dataset.backend_args))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'there is no image at {path}; set data_root or data_prefix of the test dataset with '
            '--cfg-options, or leave pictures out with --pairs 0'
        ) from error
    if image is None:
        raise ValueError(f'{path} is no image that can be read')
    return image


def _crop(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Cut two boxes out of an image, with surroundings, and draw them.

    Args:
        image: (H, W, 3) uint8, BGR.
        boxes: (2, 4) the annotated one and the detected one, ``x1, y1, x2, y2``.

    Returns:
        uint8, BGR, with ``CROP`` pixels on the longer side.
    """
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = MARGIN * max(high - low)
    size = np.array(image.shape[1::-1])
    x1, y1 = np.floor(low - margin).clip(0, size - 1).astype(int)
    x2, y2 = np.ceil(high + margin).clip([x1 + 1, y1 + 1], size).astype(int)
    scale = CROP / max(x2 - x1, y2 - y1)
    crop = cv2.resize(
        np.ascontiguousarray(image[y1:y2, x1:x2]),
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA,
    )
    for box, colour in zip(boxes, (ANNOTATED, DETECTED), strict=True):
        corners = np.round((box - [x1, y1, x1, y1]) * scale).astype(int).tolist()
        for shade, width in (((0, 0, 0), 4), (colour, 2)):  # seen on light and on dark
            cv2.rectangle(crop, corners[:2], corners[2:], shade, width)
    return crop
