-- Which photos were rejected, and why?
SELECT reason, path, size, detail
FROM rejected
WHERE run_id = $run_id
ORDER BY reason, path
