"""Where playlists come from: one small interface (sources.py), one set of SQL. Knows nothing of Prefect."""
