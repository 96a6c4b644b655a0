-- Which photos look most like one photo, by the cosine of their components?
WITH wanted AS (
  SELECT t.position, CAST(t.component AS double) AS component
  FROM pca AS photo
  CROSS JOIN UNNEST(photo.pca) WITH ORDINALITY AS t (component, position)
  WHERE photo.run_id = $run_id AND photo.path = $photo
)
SELECT
  photo.path,
  photo.label,
  round(
    sum(t.component * wanted.component)
    / sqrt(sum(t.component * t.component) * sum(wanted.component * wanted.component)),
    3
  ) AS cosine
FROM pca AS photo
CROSS JOIN UNNEST(photo.pca) WITH ORDINALITY AS t (component, position)
JOIN wanted ON wanted.position = t.position
WHERE photo.run_id = $run_id
GROUP BY photo.path, photo.label
ORDER BY cosine DESC, photo.path
LIMIT 10
