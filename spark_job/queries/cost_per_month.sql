-- What did the clusters cost per run and per month, by list prices?
SELECT
  substr(started, 1, 7) AS month,
  count(cluster.usd) AS runs,
  round(avg(cluster.usd), 2) AS usd_per_run,
  round(sum(cluster.usd), 2) AS usd
FROM runs
GROUP BY substr(started, 1, 7)
ORDER BY month DESC
