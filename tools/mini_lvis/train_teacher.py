"""Trains the mini world's teacher: a small CLIP that knows the world from captioned pictures alone.

    python tools/mini_lvis/train_teacher.py --out data/mini_clip.pt

It is an ``open_clip.CLIP`` (``mmdet_vild/teacher/model_configs/mini-clip-lite0.json``), whose image
tower starts from ImageNet weights and learns to tell words apart; then a text tower learns from
nothing, by open_clip's contrastive loss, with the image tower's projection.

It sees pictures of one to six things, of every drawing there is, those that no detector sees too,
as CLIP has seen more of the web than any detector; and captions, which are the 63 prompts of ViLD
around the names and synonyms of what is drawn, base and novel alike. Crops that cut a thing or lose
it in its surroundings are captioned as what they are (``part of a saxophone``), so that the teacher
can tell a good box from a bad one.

Beside the weights, a ``.json`` records the sizes and what the teacher learned.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from categories import choose_categories
from crops import IMAGE_SIZE, Key, object_box, render_crops
from drawings import find_drawings
from generate import COCO_WORDS
from imagenet import load_weights
from scenes import compose, load_drawings
from torch.nn.functional import cross_entropy, normalize
from tqdm import tqdm

import mmdet_vild.teacher
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import fill_templates

MODEL_NAME = 'mini-clip-lite0'
#: The second of the random seeds, where the training pictures have another (see ``crops.py``).
BATCH_STREAM, HELD_OUT_STREAM = 1001, 1002
#: How often a batch shows a thing whole, in part and far away, against the background in all.
KIND_WEIGHTS = {'whole': 0.65, 'part': 0.22, 'far': 0.08}
BACKGROUND_WEIGHT = 3.0
PEAK_LR = 3e-3
#: Crops a step of the image tower, and the stages of it that stay ImageNet's.
IMAGE_BATCH, FROZEN_STAGES = 64, 3

PART_TEMPLATES = ('part of {}.', 'a photo of part of {}.', 'a piece of {}.', 'half of {}.')
FAR_TEMPLATES = ('{} in the distance.', 'a photo of {} and its surroundings.', '{} far away.')
BACKGROUND = ('the background.', 'a photo of the background.', 'nothing.', 'a photo of nothing.')


def words_of(categories: Sequence[dict]) -> dict[str, list[str]]:
    """All words for each category: its name, LVIS's synonyms, COCO's word."""
    coco = json.loads(COCO_WORDS.read_text(encoding='utf-8'))
    coco_of = {name: word for word, (_, *names) in coco.items() for name in names}
    return {
        c['name']: list(
            dict.fromkeys([c['name'], *c['synonyms'], coco_of.get(c['name'], c['name'])])
        )
        for c in categories
    }


def captions(key: Key, words: Sequence[str]) -> list[str]:
    """Every caption for crops of a kind.

    Args:
        key (Key): what they show.
        words (Sequence[str]): the words for it.
    """
    if key.word is None:
        return list(BACKGROUND)
    if key.kind == 'whole':
        return [text for word in words for text in fill_templates(word)]
    templates = PART_TEMPLATES if key.kind == 'part' else FAR_TEMPLATES
    articles = ('{article} {}', 'the {}')
    return [
        text
        for word in words
        for article in articles
        for text in fill_templates(word, [t.replace('{}', article) for t in templates])
    ]


class Batches:
    """Draws batches in which no caption is true of another one's crop.

    ClipLoss takes every other caption of a batch as wrong, so a key may be in it only once.

    Args:
        seed (int): with the step, it decides a batch.
        keys (list[Key]): (n,) what the crops show.
        words (dict[str, list[str]]): as ``words_of`` gives them; what has none has its own.
        tokenizer (Callable): open_clip's.
    """

    def __init__(
        self, seed: int, keys: list[Key], words: dict[str, list[str]], tokenizer: Callable
    ) -> None:
        self.seed = seed
        members: dict[Key, list[int]] = {}
        for i, key in enumerate(keys):
            members.setdefault(key, []).append(i)
        self.members = list(members.values())
        self.tokens = [tokenizer(captions(k, words.get(k.word, [k.word]))) for k in members]
        chance = np.array([KIND_WEIGHTS.get(k.kind, BACKGROUND_WEIGHT) for k in members])
        self.chance = chance / chance.sum()

    def __call__(self, step: int, size: int) -> tuple[np.ndarray, torch.Tensor]:
        """A step's crops, (size,) by number, and tokenized captions, (size, length)."""
        rng = np.random.default_rng([self.seed, BATCH_STREAM, step])
        size = min(size, len(self.members))
        drawn = rng.choice(len(self.members), size, replace=False, p=self.chance)
        crops = np.array([rng.choice(self.members[i]) for i in drawn])
        texts = [self.tokens[i][rng.integers(len(self.tokens[i]))] for i in drawn]
        return crops, torch.stack(texts)


def build_model(seed: int, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The model from open_clip's factory, its image tower with ``weights``."""
    torch.manual_seed(seed)
    open_clip.add_model_config(Path(mmdet_vild.teacher.__file__).parent / 'model_configs')
    logging.disable(logging.WARNING)  # of the weights that it does not have yet
    try:
        model = open_clip.create_model(MODEL_NAME)
    finally:
        logging.disable(logging.NOTSET)
    model.visual.trunk.load_state_dict(weights)
    return model


def normalised(crops: np.ndarray) -> torch.Tensor:
    """Crops (n, side, side, 3) uint8 RGB as the image tower wants them: (n, 3, side, side)."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    return (torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255 - mean) / std


def optimizer_of(parameters: dict[float, list], steps: int) -> tuple:
    """AdamW and its schedule: warm-up and a cosine; ``parameters`` for each learning rate."""
    groups = [
        {
            'params': [p for p in some if (p.ndim > 1) == decays],
            'weight_decay': 0.05 if decays else 0.0,
            'lr': rate,
        }
        for rate, some in parameters.items()
        for decays in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))

    def rate(step: int) -> float:
        return min(1, 10 * (step + 1) / steps) * (0.5 + 0.5 * float(np.cos(np.pi * step / steps)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def train_image_tower(
    trunk: torch.nn.Module, keys: Sequence[Key], crops: np.ndarray, seed: int, steps: int
) -> None:
    """Lets the image tower tell the words of crops apart, as captions of one word would.

    A text tower that starts from nothing learns slowly, and an image tower with it; so this goes
    first, and the text tower then learns from what the image tower sees.

    Args:
        trunk (Module): the image tower without its projection, with ImageNet weights; in place.
        keys (Sequence[Key]): (n,) what the crops show.
        crops (ndarray): (n, side, side, 3) uint8 RGB.
        seed (int): of the batches.
        steps (int): training steps, of ``IMAGE_BATCH`` crops.
    """
    words = {word: i for i, word in enumerate(dict.fromkeys(key.word for key in keys))}
    labels = torch.tensor([words[key.word] for key in keys])
    classifier = torch.nn.Linear(trunk.num_features, len(words))
    trunk.to(memory_format=torch.channels_last).train()
    for module in (trunk.conv_stem, trunk.bn1, *trunk.blocks[:FROZEN_STAGES]):
        module.eval().requires_grad_(False)
    learned = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    optimizer, schedule = optimizer_of({1.5e-3: learned, 3e-3: [*classifier.parameters()]}, steps)
    rng = np.random.default_rng([seed, BATCH_STREAM, 0])
    progress = tqdm(range(steps), desc='image tower', mininterval=1)
    for step in progress:
        some = rng.choice(len(crops), min(IMAGE_BATCH, len(crops)), replace=False)
        logits = classifier(trunk(normalised(crops[some])))
        loss = cross_entropy(logits, labels[some], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f'{loss.item():.2f}', refresh=False)
    trunk.eval().requires_grad_(False)


@torch.no_grad()
def image_features(trunk: torch.nn.Module, crops: np.ndarray) -> torch.Tensor:
    """What the image tower without its projection makes of crops: (n, F) float32."""
    starts = tqdm(range(0, len(crops), 64), desc='image features', mininterval=1)
    return torch.cat([trunk(normalised(crops[i : i + 64])) for i in starts])


def train(
    model: torch.nn.Module,
    features: torch.Tensor,
    draw_batch: Callable,
    steps: int,
    batch_size: int,
) -> None:
    """Trains the text tower and the projection of the image tower in place.

    Args:
        model (Module): as ``build_model`` gives it.
        features (Tensor): (n, F) as ``image_features`` gives them.
        draw_batch (Callable): a ``Batches``.
        steps (int): training steps.
        batch_size (int): crops a step.
    """
    # Of the token table's 49,408 rows a step touches a hundred.
    model.token_embedding.sparse = True
    table = model.token_embedding.weight
    frozen = {table, *model.visual.trunk.parameters()}
    learned = {PEAK_LR: [p for p in model.parameters() if p not in frozen]}
    optimizer, schedule = optimizer_of(learned, steps)
    of_table = torch.optim.SparseAdam([table], lr=PEAK_LR, betas=(0.9, 0.98))
    compute_loss = open_clip.ClipLoss()
    progress = tqdm(range(steps), desc='captions', mininterval=1)
    for step in progress:
        of_table.param_groups[0]['lr'] = optimizer.param_groups[0]['lr']
        optimizer.zero_grad()
        of_table.zero_grad()
        crops, texts = draw_batch(step, batch_size)
        images = normalize(model.visual.head(features[crops]), dim=1)
        captions = model.encode_text(texts, normalize=True)
        loss = compute_loss(images, captions, model.logit_scale.exp())
        loss.backward()
        optimizer.step()
        of_table.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        if step % 20 == 0:
            progress.set_postfix(loss=f'{loss.item():.2f}', refresh=False)


def evaluate(
    teacher: OpenCLIPTeacher, drawings: Path, categories: list[dict], seed: int, scenes: int
) -> dict:
    """What the teacher makes of objects in scenes that it has not seen, as crowded as the world's.

    Args:
        teacher (OpenCLIPTeacher): the trained teacher, as the detectors will load it.
        drawings (Path): folder of the drawings.
        categories (list[dict]): what is drawn.
        seed (int): of this run.
        scenes (int): how many to look at.

    Returns:
        dict: ``base`` and ``novel``: zero-shot accuracy on the objects' boxes, in percent;
        ``logit_scale``: the learned one.
    """
    all_drawings = load_drawings(drawings)
    things = [d for d in all_drawings if d.category is not None]
    clutter = [d for d in all_drawings if d.category is None]
    label_of = {c['name']: i for i, c in enumerate(categories)}
    texts = torch.from_numpy(teacher.encode_categories(categories).embeddings)
    right = {'base': [], 'novel': []}
    for index in range(scenes):
        rng = np.random.default_rng([seed, HELD_OUT_STREAM, index])
        picks = [things[i] for i in rng.integers(len(things), size=6)]
        scene = compose(rng, picks, clutter, IMAGE_SIZE)
        boxes = np.stack([object_box(scene, i) for i in range(len(scene.drawings))])
        found = (teacher.encode_crops(scene.pixels, boxes) @ texts.T).argmax(1)
        for thing, guess in zip(scene.drawings, found.tolist(), strict=True):
            label = label_of[thing.category]
            group = 'novel' if categories[label]['frequency'] == 'r' else 'base'
            right[group].append(guess == label)
    return {
        **{k: round(100 * float(np.mean(v)), 1) if v else None for k, v in right.items()},
        'logit_scale': round(1 / teacher.temperature, 2),
    }


def make_teacher(
    drawings: Path,
    weights: dict[str, torch.Tensor],
    out: Path,
    seed: int = 0,
    pictures: int = 3500,
    image_steps: int = 750,
    steps: int = 1000,
    batch_size: int = 192,
    held_out: int = 100,
    workers: int = 1,
) -> dict:
    """Trains a teacher and writes its weights, and beside them a ``.json`` of what it learned.

    Args:
        drawings (Path): folder of the drawings.
        weights (dict[str, Tensor]): what the image tower starts from, see ``imagenet.py``.
        out (Path): the weights file.
        seed (int): of the run.
        pictures (int): training pictures, of about 9 crops each.
        image_steps (int): training steps of the image tower.
        steps (int): training steps of the text tower.
        batch_size (int): crops a step of the latter.
        held_out (int): scenes to test it on.
        workers (int): processes that draw the pictures, which do not depend on it.

    Returns:
        dict: as ``evaluate`` gives it.

    Raises:
        ValueError: a size is not positive.
    """
    sizes = dict(
        pictures=pictures,
        image_steps=image_steps,
        steps=steps,
        batch_size=batch_size,
        held_out=held_out,
    )
    for name, value in sizes.items():
        if value <= 0:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} must be positive, but is {value}')
    drawable = json.loads((drawings / 'index.json').read_text(encoding='utf-8'))['categories']
    categories = choose_categories([c['name'] for c in drawable], drawable)
    model = build_model(seed, weights)
    side = model.visual.image_size[0]
    keys, crops = render_crops(seed, drawings, pictures, side, workers)
    batches = Batches(seed, keys, words_of(categories), open_clip.get_tokenizer(MODEL_NAME))
    train_image_tower(model.visual.trunk, keys, crops, seed, image_steps)
    features = image_features(model.visual.trunk, crops)
    train(model, features, batches, steps, batch_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: v.contiguous() for k, v in model.state_dict().items()}, out)
    teacher = OpenCLIPTeacher(MODEL_NAME, str(out))
    learned = evaluate(teacher, drawings, categories, seed, held_out)
    report = json.dumps({'sizes': sizes, 'learned': learned}, indent=2)
    out.with_suffix('.json').write_text(report + '\n', encoding='utf-8')
    return learned


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ' (default: %(default)s)'
    parser.add_argument(
        '--drawings', type=Path, help='folder of drawings (default: fetched and kept in the cache)'
    )
    parser.add_argument('--out', type=Path, default=Path('data/mini_lvis/mini_clip.pt'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--pictures', type=int, default=3500, help='training pictures' + default)
    parser.add_argument(
        '--image-steps', type=int, default=750, help='steps of the image tower' + default
    )
    parser.add_argument('--steps', type=int, default=1000, help='steps of the text tower' + default)
    parser.add_argument(
        '--batch-size', type=int, default=192, help='crops a step of the latter' + default
    )
    parser.add_argument('--held-out', type=int, default=100, help='scenes to test it on' + default)
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count() or 1, help='processes that draw' + default
    )
    args = vars(parser.parse_args(argv))
    try:
        args['drawings'] = args['drawings'] or find_drawings()
        learned = make_teacher(weights=load_weights(), **args)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(
        f'{args["out"]}: zero-shot accuracy on held-out objects {learned["base"]}% (base) and '
        f'{learned["novel"]}% (novel); learned logit scale {learned["logit_scale"]}'
    )


if __name__ == '__main__':
    main()
