-- A table and not a view: after a change of model rowvec puts another table in the place of product_embeddings by
-- renaming, and a view would go on reading the former one.
select
    p.product_id,
    p.name,
    p.vendor_code,
    p.price,
    p.category_id,
    e.embedding,
    e.updated_at as embedding_updated_at
from {{ ref('stg_product') }} p
left join {{ source('features', 'product_embeddings') }} e on p.product_id = e.product_id
where not p.deleted
