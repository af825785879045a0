{{ config(indexes=[{'columns': ['product_id'], 'unique': true}, {'columns': ['ingested_at']}]) }}

select
    product_id::bigint as product_id,
    trim(name) as name,
    nullif(trim(polish_name), '') as polish_name,
    nullif(trim(vendor_code), '') as vendor_code,
    nullif(trim(description), '') as description,
    nullif(trim(polish_description), '') as polish_description,
    weight::numeric(10, 2) as weight,
    length::integer as length,
    width::integer as width,
    height::integer as height,
    price::numeric(12, 2) as price,
    category_id::bigint as category_id,
    coalesce(is_active, true) as is_active,
    coalesce(deleted, false) as deleted,
    created_at::timestamp as created_at,
    updated_at::timestamp as updated_at,
    ingested_at::timestamp as ingested_at
from {{ source('bronze', 'products') }}
