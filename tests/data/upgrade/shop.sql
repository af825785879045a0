BEGIN TRANSACTION;
CREATE TABLE products (
    id integer primary key, name text, description text, price integer, listed boolean, tags json, updated_at timestamp
);
INSERT INTO "products" VALUES(1,'red shoe','A red shoe, 2.5 kg',10,1,'["sale", "red"]','2026-01-01 12:00:00');
INSERT INTO "products" VALUES(2,'blue shoe','A blue shoe, 2.5 kg',20,0,'["sale", "blue"]','2026-01-02 12:00:00');
INSERT INTO "products" VALUES(3,'REFUSED now','A red lamp SABO-520067C, 2.5 kg',30,1,'["sale", "red"]','2026-02-01 12:00:00');
INSERT INTO "products" VALUES(4,'green lamp','A green lamp, 2.5 kg',99,0,'["sale", "green"]','2026-02-02 12:00:00');
INSERT INTO "products" VALUES(6,'oak desk','A oak desk, 2.5 kg',60,0,'["sale", "oak"]','2026-01-06 12:00:00');
INSERT INTO "products" VALUES(7,'chair','A chair, 2.5 kg',70,1,'["sale", "chair"]','2026-01-07 12:00:00');
INSERT INTO "products" VALUES(8,'red chair','A red chair, 2.5 kg',80,0,'["sale", "red"]','2026-01-08 12:00:00');
INSERT INTO "products" VALUES(9,'wool sock','A wool sock, 2.5 kg',90,1,'["sale", "wool"]','2026-01-09 12:00:00');
INSERT INTO "products" VALUES(10,'linen shirt','A linen shirt, 2.5 kg',100,0,'["sale", "linen"]','2026-01-10 12:00:00');
INSERT INTO "products" VALUES(11,'hat','A hat, 2.5 kg','cheap',1,'["sale", "hat"]','2026-01-11 12:00:00');
INSERT INTO "products" VALUES(12,'REFUSED','A cap, 2.5 kg',120,0,'["sale", "cap"]','2026-01-12 12:00:00');
COMMIT;
