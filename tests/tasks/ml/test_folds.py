import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.folds import HELD_OUT, INNER, TRAIN, _mix, _streams, assign_folds, hash_ids, tie_order

MASK = 2**64 - 1


def siphash_2_4(key: bytes, data: bytes) -> int:
    """Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, written down independently of pandas."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & MASK

    def rounds(times):
        for _ in range(times):
            v[0] = (v[0] + v[1]) & MASK
            v[2] = (v[2] + v[3]) & MASK
            v[1], v[3] = rotate(v[1], 13) ^ v[0], rotate(v[3], 16) ^ v[2]
            v[0] = (rotate(v[0], 32) + v[3]) & MASK
            v[2] = (v[2] + v[1]) & MASK
            v[1], v[3] = rotate(v[1], 17) ^ v[2], rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_reference_siphash_gives_the_value_of_its_paper():
    assert siphash_2_4(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8")), max_size=8))
def test_hash_ids_is_siphash_2_4_under_the_fixed_key_then_the_mixer(ids):
    words = np.array([siphash_2_4(b"playlist-models.", text.encode()) for text in ids], dtype=np.uint64)
    assert hash_ids(ids).tolist() == _mix(words).tolist()


def test_hash_ids_takes_every_kind_of_string_vector_alike():
    ids = ["a", "spotify:track:1", "é", "", "a"]
    expected = hash_ids(ids)
    assert expected.dtype == np.uint64
    for vector in (np.array(ids), np.array(ids, dtype=object), pd.Series(ids), pd.Series(ids, dtype="string")):
        np.testing.assert_array_equal(hash_ids(vector), expected)


@pytest.mark.parametrize("ids", [["a", None], ["a", float("nan")], [1, 2], [b"a"], ["a", 1], ["a", pd.NA]])
def test_hash_ids_refuses_what_is_not_a_string(ids):
    with pytest.raises(ValueError, match="strings"):
        hash_ids(ids)


def test_hash_ids_is_the_same_in_another_process_with_another_hash_seed():
    code = "from tasks.ml.folds import hash_ids; print(hash_ids(['a', 'b']).tolist())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.strip() == str(hash_ids(["a", "b"]).tolist())


def test_mixer_gives_the_published_outputs_of_splitmix64():
    assert _streams(1234567).tolist() == [6457827717110365317, 3203168211198807973]
    assert _streams(-1).tolist() == _streams(MASK).tolist()
    assert _mix(np.zeros(1, dtype=np.uint64)).tolist() == [0]


def memberships(sizes, prefix="p"):
    """Ids of playlists of the given sizes; tracks overlap between playlists."""
    playlist = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"{prefix}{code}" for code in playlist]
    tracks = [f"t{place * 7 % 10007}" for size in sizes for place in range(size)]
    return playlist, hash_ids(names), hash_ids(tracks)


def counts(folds):
    return [int((folds == fold).sum()) for fold in (TRAIN, INNER, HELD_OUT)]


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, [0, 0, 0]),
        (1, [1, 0, 0]),
        (2, [2, 0, 0]),
        (3, [2, 0, 1]),
        (5, [3, 1, 1]),
        (8, [5, 1, 2]),
        (100, [64, 16, 20]),
    ],
)
def test_sizes_of_the_folds(n, expected):
    assert counts(assign_folds(*memberships([n]), seed=7)) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(-(2**70), 2**70))
def test_every_playlist_holds_out_a_fifth_and_then_a_fifth_of_the_rest(sizes, seed):
    playlist, *hashes = memberships(sizes)
    folds = assign_folds(playlist, *hashes, seed)
    assert folds.dtype == np.int8
    for code, n in enumerate(sizes):
        n_held_out = round(0.2 * n)
        n_inner = round(0.2 * (n - n_held_out))
        assert counts(folds[playlist == code]) == [n - n_held_out - n_inner, n_inner, n_held_out]


def test_folds_are_the_smallest_hashes_as_promised():
    playlist, of_playlist, of_track = memberships([40])
    outer, inner = _streams(7)
    keys = [_mix(_mix(of_playlist ^ stream) ^ of_track) for stream in (outer, inner)]
    expected = np.full(40, TRAIN)
    expected[np.argsort(keys[0])[:8]] = HELD_OUT
    rest = [place for place in np.argsort(keys[1]) if expected[place] == TRAIN]
    expected[rest[:6]] = INNER
    assert assign_folds(playlist, of_playlist, of_track, 7).tolist() == expected.tolist()


def test_folds_of_a_fixed_example_never_change():
    assert hash_ids(["p0", "t0"]).tolist() == [12483458622394496721, 1165473482853387102]
    assert "".join(map(str, assign_folds(*memberships([10, 12]), seed=7))) == "0000001122000101000022"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.data())
def test_folds_do_not_depend_on_row_order_or_on_other_playlists(sizes, seed, data):
    vectors = memberships(sizes)
    folds = assign_folds(*vectors, seed)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    order = rng.permutation(folds.size)
    np.testing.assert_array_equal(assign_folds(*(vector[order] for vector in vectors), seed), folds[order])
    kept = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    rows = np.isin(vectors[0], list(kept))
    np.testing.assert_array_equal(assign_folds(*(vector[rows] for vector in vectors), seed), folds[rows])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=8), st.integers(0, 100))
def test_folds_do_not_depend_on_the_codes_of_the_playlists(sizes, seed):
    playlist, *hashes = memberships(sizes)
    folds = assign_folds(playlist, *hashes, seed)
    np.testing.assert_array_equal(assign_folds(1000 - 3 * playlist, *hashes, seed), folds)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.integers(0, 100), st.data())
def test_a_larger_sample_keeps_the_split_of_the_smaller(sizes, seed, data):
    smaller = data.draw(st.integers(1, len(sizes)))
    larger_folds = assign_folds(*memberships(sizes), seed)
    smaller_folds = assign_folds(*memberships(sizes[:smaller]), seed)
    np.testing.assert_array_equal(larger_folds[: smaller_folds.size], smaller_folds)


def test_seeds_playlists_and_the_two_folds_draw_independently():
    n = 4000
    of_seed = [assign_folds(*memberships([n]), seed=seed) == HELD_OUT for seed in (7, 8)]
    of_other = assign_folds(*memberships([n], prefix="q"), seed=7) == HELD_OUT
    for one in (of_seed[1], of_other):
        assert abs((one & of_seed[0]).sum() / n - 0.04) < 0.02


def test_a_track_twice_in_a_playlist_is_refused():
    playlist, of_playlist, of_track = memberships([5])
    of_track[3] = of_track[1]
    with pytest.raises(ValueError, match="twice"):
        assign_folds(playlist, of_playlist, of_track, 7)


def test_unequal_lengths_are_refused():
    playlist, of_playlist, of_track = memberships([5])
    with pytest.raises(ValueError, match="entry per membership"):
        assign_folds(playlist, of_playlist, of_track[:-1], 7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_tie_order_ranks_by_hash_and_then_by_position(hashes):
    ranks = tie_order(np.array(hashes, dtype=np.uint64))
    assert ranks.dtype == np.int64
    order = sorted(range(len(hashes)), key=lambda place: (hashes[place], place))
    assert ranks[order].tolist() == list(range(len(hashes)))


def test_tie_order_follows_a_track_and_not_its_position():
    hashes = hash_ids([f"t{i}" for i in range(200)])
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(tie_order(hashes[order]), tie_order(hashes)[order])
