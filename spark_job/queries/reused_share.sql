-- Which share of the photos did each run reuse?
SELECT run_id, counts.found AS found, counts.reused AS reused, round(1e2 * counts.reused / counts.found, 1) AS percent
FROM runs
ORDER BY started DESC
