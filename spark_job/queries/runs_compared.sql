-- How do the runs compare?
SELECT
  run_id,
  counts.found AS found,
  counts.computed AS computed,
  counts.rejected AS rejected,
  TRY(findings['wrong label']) AS wrong_labels,
  pca.components AS components,
  round(pca.one_nn_accuracy_components, 3) AS one_nn_accuracy,
  images_per_second,
  cluster.usd AS usd
FROM runs
ORDER BY started DESC
