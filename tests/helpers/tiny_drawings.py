"""A folder of drawings that needs no network: plain shapes, by three hands."""

import json
from pathlib import Path

import cv2
import numpy as np

#: Name, frequency, BGR.
CATEGORIES = [
    {'name': 'red circle', 'frequency': 'f'},
    {'name': 'blue ring', 'frequency': 'c'},
    {'name': 'green cup', 'frequency': 'f'},
    {'name': 'red heart', 'frequency': 'r', 'synonyms': ['red heart', 'scarlet heart']},
    {'name': 'blue circle', 'frequency': 'r'},
]
COLOURS = {'red': (40, 40, 220), 'blue': (220, 70, 40), 'green': (60, 160, 50)}
#: Family and how it varies the shapes; the last is held out.
FAMILIES = {'round': 1.0, 'wide': 0.7, 'tall': 1.3}


def shape(name: str, stretch: float, side: int = 96) -> np.ndarray:
    """A shape with a dark rim on nothing: (side, side, 4) uint8, BGR and alpha."""
    alpha = np.zeros((side, side), np.uint8)
    middle, radius = (side // 2, side // 2), side // 3
    axes = (int(radius * min(1 / stretch, 1.3)), int(radius * min(stretch, 1.3)))
    if name.endswith(('circle', 'ring')):
        cv2.ellipse(alpha, middle, axes, 0, 0, 360, 255, -1)
    if name.endswith('ring'):
        cv2.ellipse(alpha, middle, (axes[0] // 2, axes[1] // 2), 0, 0, 360, 0, -1)
    if name.endswith('cup'):
        points = np.array([[-1.0, -1.0], [1.0, -1.0], [0.6, 1.0], [-0.6, 1.0]]) * axes + middle
        cv2.fillPoly(alpha, [points.astype(np.int32)], 255)
        cv2.circle(alpha, (middle[0] + axes[0], middle[1]), axes[1] // 2, 255, 6)
    if name.endswith('heart'):
        turn = np.linspace(0, 2 * np.pi, 60)
        x = 16 * np.sin(turn) ** 3
        y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
        points = np.stack([x, -y], 1) / 16 * axes + middle
        cv2.fillPoly(alpha, [points.astype(np.int32)], 255)
    if name == 'blot':
        cv2.ellipse(alpha, middle, (radius // 2, radius), 30, 0, 360, 255, -1)
    colour = COLOURS.get(name.split()[0], (120, 120, 120))
    picture = np.concatenate([np.full((side, side, 3), colour, np.uint8), alpha[..., None]], 2)
    rim = alpha - cv2.erode(alpha, np.ones((7, 7), np.uint8))
    picture[rim > 0, :3] //= 2
    return picture


def make_drawings(folder: Path) -> Path:
    """Write the drawings; returns the folder."""
    entries = []
    for family, stretch in FAMILIES.items():
        (folder / family).mkdir(parents=True)
        for name in [*(c['name'] for c in CATEGORIES), 'blot']:
            file = f'{family}/{name.replace(" ", "-")}.png'
            cv2.imwrite(str(folder / file), shape(name, stretch))
            named = {'category': None, 'word': 'blot'} if name == 'blot' else {'category': name}
            entries.append({'file': file, **named, 'family': family, 'held_out': family == 'tall'})
    index = {'categories': CATEGORIES, 'drawings': entries}
    (folder / 'index.json').write_text(json.dumps(index))
    return folder
