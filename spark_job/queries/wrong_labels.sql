-- Which photos seem to have a wrong label?
SELECT path, label, suggested_label, round(CAST(score AS double), 2) AS score
FROM findings
WHERE run_id = $run_id AND kind = 'wrong label'
ORDER BY score DESC, path
