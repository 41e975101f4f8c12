-- The record of flights with their moments in UTC, from the tables `record` and `airports`.
WITH timed AS (
  SELECT r.*, CAST(arrow_cast(time_hour, 'Timestamp(Microsecond, Some("UTC"))') AS BIGINT) + minute * 60000000 AS leaves,
    ((arr_time / 100 * 60 + arr_time % 100) - (dep_time / 100 * 60 + dep_time % 100) - (COALESCE(a.tz, -4) + 5) * 60 + 2880) % 1440 AS apart
  FROM record r LEFT JOIN airports a ON r.dest = a.faa
),
moments AS (
  SELECT *, to_timestamp_micros(leaves) AS sched_dep_at,
    to_timestamp_micros(leaves + dep_delay * 60000000) AS departed_at,
    CASE WHEN arr_delay IS NOT NULL THEN
      to_timestamp_micros(leaves + (dep_delay + apart + CASE WHEN apart < air_time THEN 60 ELSE 0 END) * 60000000) END AS landed_at
  FROM timed
)
SELECT carrier || flight || '-' || origin || '-' || to_char(sched_dep_at, '%Y%m%dT%H%M') AS flight_id,
  carrier, flight, tailnum, tailnum AS plane, origin, dest, distance, hour AS sched_dep_hour,
  sched_dep_at, sched_dep_at - INTERVAL '24 hours' AS published_at, departed_at, landed_at, dep_delay, arr_delay, air_time
FROM moments
