import numpy as np
import pytest

from tasks.ml.tuning import choose_regularization

NAN = np.nan


def test_the_best_mean_over_playlists_wins():
    assert choose_regularization([0.1, 0.3, 1.0], np.array([[0.9, 0.1], [0.5, 0.6], [0.0, 1.0]])) == 0.3


@pytest.mark.parametrize("candidates", [[0.3, 0.1], [0.1, 0.3]])
def test_of_equal_means_the_smaller_c(candidates):
    assert choose_regularization(candidates, np.array([[0.5, 0.0], [0.0, 0.5]])) == 0.1


def test_playlists_without_an_inner_track_are_left_out():
    assert choose_regularization([1.0, 2.0], np.array([[NAN, 0.2], [NAN, 0.3]])) == 2.0


@pytest.mark.parametrize("quality", [np.full((2, 3), NAN), np.empty((2, 0))])
def test_without_any_judged_playlist_the_smallest_c(quality):
    assert choose_regularization([3.0, 1.0], quality) == 1.0


def test_candidates_judged_on_different_playlists_are_refused():
    with pytest.raises(ValueError, match="same playlists"):
        choose_regularization([1.0, 2.0], np.array([[NAN, 0.2], [0.1, 0.3]]))


@pytest.mark.parametrize(
    ("candidates", "quality"), [([], np.empty((0, 2))), ([1.0], np.ones((2, 2))), ([1.0], np.ones(1))]
)
def test_shapes_that_disagree_are_refused(candidates, quality):
    with pytest.raises(ValueError, match="as many rows"):
        choose_regularization(candidates, quality)
