"""What can become of one playlist: a model, or the reason why there is none."""

TRAINED = "trained"
TOO_FEW = "too_few"  # train tracks
ONE_CLASS = "one_class"  # no negative row is left
NON_FINITE = "non_finite"
NOT_CONVERGED = "not_converged"

FAILURES = (NON_FINITE, NOT_CONVERGED)  # of playlists that could be trained
