"""From the mini world to a segmentor of any words, and to what synonyms and a teacher give it.

    python tools/mini_lvis/demo_gkc.py

Takes the world and the teacher of ``demo.py`` (or makes them), trains a Mask2Former with words
(plain) and GKC on the semantic maps with MMDetection's own train tool, and tests them: by the names
of training, by synonyms that were held out of it, and on novel categories. Beside them, the slow
rival, in which the teacher names every mask, and the teacher on true masks. Run it again after an
interruption: it goes on where it stopped.
"""

import pipeline
import report
import segment_report
from segment_pipeline import ASKED, BOUND, RIVAL, TRAINED, SegmentWorld

#: What the demo trains; ``demo_gkc_full.py`` has all.
ROWS = ('plain', 'GKC: synonyms and text-guided')


def main() -> None:
    """Parse the command line and run every step."""
    args = pipeline.world_parser(__doc__).parse_args()

    world = SegmentWorld.from_args(args)
    rows, times = run(world, ROWS)
    report.save(rows, world.work / 'results_gkc.json')
    print(f'\n{segment_report.demo_table(rows, times)}\n')
    print(
        'Nothing of novel categories was annotated in training, nor was any held-out synonym '
        'among its words.'
    )
    world.steps.print_total()


def run(world: SegmentWorld, titles: tuple[str, ...]) -> tuple[dict[str, dict], dict[str, float]]:
    """Train and test some rows of ``TRAINED``, the rival and the bound.

    Returns:
        What :func:`segment_report.evaluate_method` says of each row, and the milliseconds a picture
        of those that are timed: the first, the last, and the rival.
    """
    world.prepare()
    tested = {}
    for title in titles:
        method = TRAINED[title]
        alone = world.fork()  # so that another row need not be repeated with it
        alone.train(method)
        tested[title] = {words: alone.test(method, words=words) for words in ASKED}
    tested[RIVAL] = {words: world.test('clip-on-masks', TRAINED['plain'], words) for words in ASKED}
    tested[BOUND] = {words: world.test_true_masks(words) for words in ASKED}
    timed = {title: TRAINED[title] for title in (titles[0], titles[-1])}
    times = world.time(
        {
            title: (tested[title]['names'], method)
            for title, method in {**timed, RIVAL: TRAINED['plain']}.items()
        }
    )
    for title in titles:
        if (scale := world.learned_scale(TRAINED[title])) is not None:
            print(f'k of {title}: {scale:.2f}')
    rows = {t: segment_report.evaluate_method(world.data, each) for t, each in tested.items()}
    return rows, times


if __name__ == '__main__':
    main()
