-- Which track is in which sampled playlist, each pair once. Unordered: the extract sorts out of core.
SELECT pairs.playlist_id, pairs.track_id
FROM pairs
JOIN sampled ON sampled.playlist_id = pairs.playlist_id
