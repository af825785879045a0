select product_id
from {{ ref('product_with_embeddings') }}
where embedding is null
