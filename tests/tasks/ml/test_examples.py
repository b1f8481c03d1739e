import numpy as np

from tasks.ml.examples import ADDED, HELD_OUT, TRAIN, pick_examples


def test_examples_by_hand():
    scores = np.array([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    is_train = np.array([True, False, False, False, False, True])
    is_held_out = np.array([False, False, True, False, False, False])
    ties = np.array([5, 4, 3, 2, 1, 0])
    assert pick_examples(scores, is_train, is_held_out, ties, n=2) == [
        (5, TRAIN, None),
        (0, TRAIN, None),
        (2, HELD_OUT, 2),
        (1, ADDED, 1),
        (3, ADDED, 3),
    ]


def test_ranks_are_those_of_a_full_sort_with_ties_by_the_hash():
    rng = np.random.default_rng(0)
    scores, ties = rng.integers(0, 9, 300).astype(float), rng.permutation(300)
    is_train = rng.random(300) < 0.1
    is_held_out = ~is_train & (rng.random(300) < 0.1)
    candidates = np.flatnonzero(~is_train)
    order = candidates[np.lexsort((ties[candidates], -scores[candidates]))].tolist()
    found = pick_examples(scores, is_train, is_held_out, ties, n=7)
    assert [example.rank for example in found if example.role != TRAIN] == [
        order.index(example.track) + 1 for example in found if example.role != TRAIN
    ]
    assert [example.track for example in found if example.role == ADDED] == [t for t in order if not is_held_out[t]][:7]
    assert [example.track for example in found if example.role == HELD_OUT] == [t for t in order if is_held_out[t]][:7]


def test_a_playlist_that_holds_everything_gets_nothing_added():
    found = pick_examples(np.zeros(3), np.array([True, True, False]), np.array([False, False, True]), np.arange(3), n=5)
    assert [example.role for example in found] == [TRAIN, TRAIN, HELD_OUT]
