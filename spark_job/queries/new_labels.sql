-- Which labels does a run have that an earlier run did not have?
SELECT label
FROM features
WHERE run_id = $run_id
EXCEPT
SELECT label
FROM features
WHERE run_id = $earlier_run
ORDER BY label
