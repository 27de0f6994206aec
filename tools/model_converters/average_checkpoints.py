"""Average the weights of a detector before and after it was fine-tuned.

    python tools/model_converters/average_checkpoints.py before.pth after.pth --out averaged.pth

What fine-tuning on a few categories has taught stays for the most part, and what it has made a
detector forget comes back ("Robust fine-tuning of zero-shot models", Wortsman et al., CVPR 2022;
"Patching open-vocabulary models by interpolating weights", Ilharco et al., NeurIPS 2022). The
result is tested with the config of either; it must have begun from the weights of ``before.pth``.
"""

import argparse
from pathlib import Path

import torch
from checkpoint_file import write_whole
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

import mmdet_vild  # noqa: F401  before any checkpoint is loaded
from mmdet_vild.models.classifiers.checkpoint_vocabulary import VOCABULARY_KEYS, same_digest


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, average, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('before', type=Path, help='the checkpoint that fine-tuning began from')
    parser.add_argument('after', type=Path, help='the checkpoint that it led to')
    parser.add_argument('--out', type=Path, required=True, help='the .pth file to write')
    parser.add_argument(
        '--weight', type=float, default=0.5, help='of the fine-tuned one, from 0 to 1'
    )
    args = parser.parse_args(argv)
    if not 0 <= args.weight <= 1:
        parser.error(f'--weight must be from 0 to 1, found {args.weight}')
    given = (args.before, args.after)
    for path in given:
        if not path.is_file():
            parser.error(f'there is no checkpoint at {path}')
        if path.resolve() == args.out.resolve():
            parser.error(f'--out {args.out} would overwrite {path}; name another file')
    before, after = (CheckpointLoader.load_checkpoint(str(p), map_location='cpu') for p in given)
    try:
        state = average(
            *(content.get('state_dict', {}) for content in (before, after)), args.weight
        )
    except ValueError as error:
        parser.error(str(error))
    # No optimizer: what is trained next begins anew.
    write_whole(args.out, dict(meta=after.get('meta', {}), state_dict=state))
    print(f'{args.out}: {args.weight:g} of {args.after}, {1 - args.weight:g} of {args.before}')


def average(
    before: dict[str, Tensor], after: dict[str, Tensor], weight: float
) -> dict[str, Tensor]:
    """Weights and statistics between those of two checkpoints; what only counts is of ``after``.

    Args:
        before: A state dict.
        after: Another one of the same network.
        weight: Of ``after``.

    Raises:
        ValueError: They are of different networks, or of words of different teachers, or a
            vocabulary is among what they hold.
    """
    one, other = (
        {(k, v.shape) for k, v in each.items() if _is_weight(v)} for each in (before, after)
    )
    if differing := sorted({key for key, _ in one ^ other}):
        raise ValueError(
            f'the checkpoints are of different networks: {len(differing)} weights are in one alone '
            f'or of other shapes, {", ".join(differing[:5])}; average those of one config'
        )
    if not one:
        raise ValueError('the checkpoints hold no weights; name checkpoints of a training')
    averaged = {}
    for key, value in after.items():
        name = key.rpartition('.')[2]
        if name in VOCABULARY_KEYS:
            raise ValueError(
                'the checkpoints have their vocabularies in them; average those that '
                'bake_vocabulary.py was given'
            )
        if name == 'teacher_digest' and not same_digest(before.get(key), value):
            raise ValueError(
                'the checkpoints were trained with words of different teachers; average two of one'
            )
        if _is_weight(value):
            value = torch.lerp(before[key].float(), value.float(), weight).to(value.dtype)
        averaged[key] = value
    return averaged


def _is_weight(value: Tensor) -> bool:
    """Or a statistic: converted checkpoints have nothing else."""
    return value.dtype.is_floating_point


if __name__ == '__main__':
    main()
