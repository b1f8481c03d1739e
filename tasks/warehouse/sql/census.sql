-- How large the warehouse is: the notebook's first cells.
SELECT
    (SELECT COUNT(DISTINCT unique_pid) FROM playlists) AS n_playlists,
    (SELECT COUNT(unique_pid) FROM playlists) AS n_memberships,
    (SELECT COUNT(DISTINCT track_uri) FROM playlists) AS n_tracks,
    (SELECT COUNT(DISTINCT trackid) FROM tracks_headers) AS n_tracks_with_features
