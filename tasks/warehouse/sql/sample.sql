-- The sample that both extracts share: put before memberships.sql and tracks.sql.
-- Parameters: seed STRING, min_tracks INT64, n_playlists INT64.
WITH
clean AS (  -- NaN and infinities become NULL: neither lies between the bounds
    SELECT
        CAST(trackid AS STRING) AS track_id,
        CASE WHEN CAST(danceability AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(danceability AS FLOAT64) END AS danceability,
        CASE WHEN CAST(energy AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(energy AS FLOAT64) END AS energy,
        CASE WHEN CAST(key AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(key AS FLOAT64) END AS key,
        CASE WHEN CAST(loudness AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(loudness AS FLOAT64) END AS loudness,
        CASE WHEN CAST(mode AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(mode AS FLOAT64) END AS mode,
        CASE WHEN CAST(speechiness AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(speechiness AS FLOAT64) END AS speechiness,
        CASE WHEN CAST(acousticness AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(acousticness AS FLOAT64) END AS acousticness,
        CASE WHEN CAST(instrumentalness AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(instrumentalness AS FLOAT64) END AS instrumentalness,
        CASE WHEN CAST(liveness AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(liveness AS FLOAT64) END AS liveness,
        CASE WHEN CAST(valence AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(valence AS FLOAT64) END AS valence,
        CASE WHEN CAST(tempo AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(tempo AS FLOAT64) END AS tempo,
        CASE WHEN CAST(duration_ms AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(duration_ms AS FLOAT64) END AS duration_ms,
        CASE WHEN CAST(time_signature AS FLOAT64) BETWEEN -1e12 AND 1e12 THEN CAST(time_signature AS FLOAT64) END AS time_signature
    FROM tracks_headers
    WHERE trackid IS NOT NULL
),
featured AS (  -- one row per track with at least one feature; of conflicting rows the smallest
    SELECT *
    FROM clean
    WHERE COALESCE(
        danceability, energy, key, loudness, mode, speechiness, acousticness,
        instrumentalness, liveness, valence, tempo, duration_ms, time_signature
    ) IS NOT NULL
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY track_id
        ORDER BY
            danceability NULLS LAST,
            energy NULLS LAST,
            key NULLS LAST,
            loudness NULLS LAST,
            mode NULLS LAST,
            speechiness NULLS LAST,
            acousticness NULLS LAST,
            instrumentalness NULLS LAST,
            liveness NULLS LAST,
            valence NULLS LAST,
            tempo NULLS LAST,
            duration_ms NULLS LAST,
            time_signature NULLS LAST
    ) = 1
),
pairs AS (
    SELECT DISTINCT CAST(p.unique_pid AS STRING) AS playlist_id, f.track_id
    FROM playlists AS p
    JOIN featured AS f ON f.track_id = CAST(p.track_uri AS STRING)
    WHERE p.unique_pid IS NOT NULL
),
sampled AS (  -- ordered by a hash: repeatable, and a larger sample contains a smaller one
    SELECT playlist_id
    FROM pairs
    GROUP BY playlist_id
    HAVING COUNT(*) >= @min_tracks
    ORDER BY TO_HEX(MD5(CONCAT(@seed, ':', playlist_id))), playlist_id
    LIMIT @n_playlists
)
