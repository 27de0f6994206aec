"""From nothing to a detector of categories that nobody annotated, in the mini world.

    python tools/mini_lvis/demo.py

Generates the data, trains a teacher, trains ViLD-text and ViLD with MMDetection's own train tool,
tests them and CLIP on cropped regions with its test tool, and shows AP and pictures. Run it again
after an interruption: it goes on where it stopped.
"""

import os
import shlex
import sys
from pathlib import Path

import pipeline
import report
from pictures import draw_pictures


def main() -> None:
    """Parse the command line and run every step."""
    parser = pipeline.world_parser(__doc__)
    parser.add_argument(
        '--web', action='store_true', help='then show ViLD and some test pictures in a web page'
    )
    args = parser.parse_args()

    world = pipeline.World.from_args(args)
    print('About 19 minutes on two CPU cores; run it again if it is interrupted.', flush=True)
    pictures = show(world, run(world))
    world.steps.print_total()
    if args.web:
        command = web_command(world, pictures)
        print(f'  $ {shlex.join(command)}', flush=True)
        os.execv(sys.executable, command)


def run(world: pipeline.World) -> dict[str, Path]:
    """Run the steps from nothing to tested detectors.

    Returns:
        The folder of the test results of each method.
    """
    world.prepare()
    world.train('vild-text')
    world.extract()
    world.train('vild')
    return {
        'ViLD-text': world.test('vild-text'),
        'ViLD': world.test('vild'),
        pipeline.CLIP_ON_CROPS: world.test('clip-on-crops', checkpoint='vild-text'),
    }


def show(world: pipeline.World, tested: dict[str, Path]) -> list[Path]:
    """Evaluate what :func:`run` returned; print the table, draw the pictures and return them."""
    rows = {m: report.evaluate_method(world.data, folder) for m, folder in tested.items()}
    report.save(rows, world.work / 'results.json')
    pictures = draw_pictures(world.data, tested, world.work / 'pictures')
    print(f'\n{report.demo_table(rows)}\n')
    print(
        'APr is the AP of novel categories: no detector was shown a box, a mask or a label of them.'
    )
    print('The test pictures with most novel objects, as annotated and as detected:')
    for picture in pictures:
        print(f'  {picture}')
    return pictures


def web_command(world: pipeline.World, pictures: list[Path]) -> list[str]:
    """The command of the web page on ViLD, with the test pictures that :func:`show` returned."""
    (config,) = (world.work / 'vild').glob('*.py')
    examples = [world.data / 'val2017' / f'{picture.stem}.jpg' for picture in pictures]
    tool = pipeline.HERE.parent / 'web_demo.py'
    parts = [sys.executable, tool, config, world.checkpoint('vild'), '--examples', *examples]
    return [str(part) for part in parts]


if __name__ == '__main__':
    main()
