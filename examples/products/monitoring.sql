-- Coverage: live products, those with a vector, vectors without a live product.
select
    count(s.product_id) as products,
    count(e.product_id) filter (where s.product_id is not null) as with_vector,
    count(s.product_id) - count(e.product_id) filter (where s.product_id is not null) as without_vector,
    count(*) filter (where s.product_id is null) as vectors_without_product
from (select product_id from staging_staging.stg_product where not deleted) s
full outer join analytics_features.product_embeddings e using (product_id);

-- Lag: the oldest product that waits for its first vector, and how long ago the last whole sync ended.
select
    (select min(s.ingested_at) from staging_staging.stg_product s
     left join analytics_features.product_embeddings e using (product_id)
     where not s.deleted and e.embedding is null) as oldest_without_vector,
    (select now() - max(ended_at) from rowvec.runs
     where scope = 'analytics_features.product_embeddings' and outcome = 'done') as since_last_sync;

-- Vectors: how many, of how many dimensions, written when.
select count(*), min(vector_dims(embedding)) as dimensions, min(updated_at) as oldest, max(updated_at) as newest
from analytics_features.product_embeddings;

-- Size: the table with its vectors, and each of its indexes with how often it was used.
select pg_size_pretty(pg_table_size('analytics_features.product_embeddings')) as table_size;
select
    s.indexrelname as index, pg_size_pretty(pg_relation_size(s.indexrelid)) as size, s.idx_scan as scans,
    i.indisvalid as valid
from pg_stat_user_indexes s join pg_index i using (indexrelid)
where s.schemaname = 'analytics_features' and s.relname = 'product_embeddings'
order by pg_relation_size(s.indexrelid) desc;

-- The model that made the vectors, and that of a generation being built or kept.
select state, fingerprint ->> 'model' as model, fingerprint ->> 'precision' as precision, changed_at
from rowvec.generations where scope = 'analytics_features.product_embeddings';

-- The last runs.
select
    id, started_at, ended_at - started_at as took, outcome, report ->> 'inserted' as new,
    report ->> 'embedded' as changed, report ->> 'deleted' as deleted, report ->> 'unchanged' as unchanged,
    report ->> 'failed' as failed, left(error, 80) as error
from rowvec.runs where scope = 'analytics_features.product_embeddings'
order by id desc limit 10;

-- Products that could not be embedded, and why.
select key, attempts, next_try, left(error, 120) as error
from rowvec.failures where scope = 'analytics_features.product_embeddings'
order by failed_at limit 20;
