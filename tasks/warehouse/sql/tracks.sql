-- Names and features of the tracks that can be recommended. Unordered: the extract sorts.
-- Parameters beside those of sample.sql: whole_catalogue BOOL (every track, or those of the sampled playlists).
, wanted AS (
    SELECT DISTINCT pairs.track_id
    FROM pairs
    JOIN sampled ON sampled.playlist_id = pairs.playlist_id
),
named AS (
    SELECT DISTINCT CAST(track_uri AS STRING) AS track_id, artist_name, track_name, album_name
    FROM playlists
    WHERE track_uri IS NOT NULL
),
names AS (  -- a track that goes by several names keeps the first
    SELECT *
    FROM named
    WHERE track_id IS NOT NULL
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY track_id
        ORDER BY artist_name NULLS LAST, track_name NULLS LAST, album_name NULLS LAST
    ) = 1
)
SELECT
    featured.track_id,
    names.artist_name,
    names.track_name,
    names.album_name,
    featured.danceability,
    featured.energy,
    featured.key,
    featured.loudness,
    featured.mode,
    featured.speechiness,
    featured.acousticness,
    featured.instrumentalness,
    featured.liveness,
    featured.valence,
    featured.tempo,
    featured.duration_ms,
    featured.time_signature
FROM featured
LEFT JOIN wanted ON wanted.track_id = featured.track_id
LEFT JOIN names ON names.track_id = featured.track_id
WHERE @whole_catalogue OR wanted.track_id IS NOT NULL
