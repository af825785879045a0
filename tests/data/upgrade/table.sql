create table products (
    id integer primary key, name text, description text, price integer, listed boolean, tags json, updated_at timestamp
);
