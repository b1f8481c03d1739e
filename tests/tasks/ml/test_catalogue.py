import numpy as np

from tasks.ml.catalogue import catalogue_column

CODES = np.array([0, 0, 0, 1, -1, 1, 2], dtype=np.int32)
IS_FIT = np.array([True, True, False, True, True, False, False])


def test_other_fit_tracks_of_the_entity_by_hand():
    column = catalogue_column(CODES, IS_FIT)
    values = np.log1p([1, 1, 2, 0, 0, 1, 0])
    assert column.mean == values[IS_FIT].mean()
    assert column.std == values[IS_FIT].std()
    np.testing.assert_allclose(column.x, (values - column.mean) / column.std, rtol=1e-6)
    assert column.x.dtype == np.float32


def test_tracks_outside_the_fit_rows_leave_no_trace_on_the_others():
    column = catalogue_column(CODES, IS_FIT)
    scrambled = CODES.copy()
    scrambled[~IS_FIT] = [2, 0, 0]
    other = catalogue_column(scrambled, IS_FIT)
    assert (other.mean, other.std) == (column.mean, column.std)
    assert other.x[IS_FIT].tobytes() == column.x[IS_FIT].tobytes()


def test_a_column_without_variation_in_the_fit_rows_is_left_out():
    assert catalogue_column(np.array([0, 1, 2, 2]), np.array([True, True, True, False])).x is None
    assert catalogue_column(np.full(3, -1), np.ones(3, bool)).x is None


def test_without_fit_rows_there_is_no_column():
    assert catalogue_column(np.array([0, 0]), np.zeros(2, bool)).x is None
