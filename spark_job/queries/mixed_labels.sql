-- Which labels mix most: whose nearest photo often has another label?
SELECT label, TRY(neighbours[1].label) AS nearest_label, count(*) AS photos
FROM neighbours
WHERE run_id = $run_id AND TRY(neighbours[1].label) <> label
GROUP BY label, TRY(neighbours[1].label)
ORDER BY photos DESC, label, nearest_label
