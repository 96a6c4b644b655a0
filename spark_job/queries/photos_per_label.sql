-- How many photos does each label have?
SELECT label, count(*) AS photos
FROM features
WHERE run_id = $run_id
GROUP BY label
ORDER BY photos DESC, label
