-- Which photos are copies of a photo with another label?
SELECT copy.path, copy.label, copy.other_path, other.label AS other_label, copy.kind
FROM findings AS copy
JOIN features AS other ON other.path = copy.other_path
WHERE copy.run_id = $run_id
  AND other.run_id = $run_id
  AND copy.kind IN ('duplicate', 'near duplicate')
  AND copy.label IS DISTINCT FROM other.label
ORDER BY copy.path
