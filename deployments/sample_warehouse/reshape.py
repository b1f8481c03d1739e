"""Reshape TidyTuesday's spotify_songs.csv into the two tables of the source contract.

python deployments/sample_warehouse/reshape.py spotify_songs.csv deployments/sample_warehouse
"""

import sys
from pathlib import Path

import duckdb

PLAYLISTS = """
COPY (
    SELECT
        playlist_id AS unique_pid,
        'spotify:track:' || track_id AS track_uri,
        track_artist AS artist_name,
        track_name,
        track_album_name AS album_name
    FROM songs
    ORDER BY ALL
) TO $path (FORMAT parquet, COMPRESSION zstd)
"""

TRACKS_HEADERS = """
COPY (
    SELECT DISTINCT
        'spotify:track:' || track_id AS trackid,
        danceability, energy, key, loudness, mode, speechiness, acousticness, instrumentalness, liveness, valence,
        tempo, duration_ms,
        NULL::DOUBLE AS time_signature
    FROM songs
    ORDER BY ALL
) TO $path (FORMAT parquet, COMPRESSION zstd)
"""

FEATURES = (
    "danceability energy key loudness mode speechiness acousticness instrumentalness liveness valence tempo duration_ms"
)


def reshape(csv_path: Path, folder: Path) -> None:
    """Write playlists.parquet and tracks_headers.parquet into `folder`."""
    connection = duckdb.connect()
    names = ["track_id", "track_artist", "track_name", "track_album_name", "playlist_id"]
    types = dict.fromkeys(names, "VARCHAR") | dict.fromkeys(FEATURES.split(), "DOUBLE")
    connection.read_csv(str(csv_path), dtype=types).create_view("songs")
    connection.execute(PLAYLISTS, {"path": str(folder / "playlists.parquet")})
    connection.execute(TRACKS_HEADERS, {"path": str(folder / "tracks_headers.parquet")})


if __name__ == "__main__":
    reshape(Path(sys.argv[1]), Path(sys.argv[2]))
