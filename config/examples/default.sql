CREATE TABLE stores (id bigint PRIMARY KEY, subdomain text UNIQUE, is_active boolean);
CREATE TABLE store_domains (
    id bigint PRIMARY KEY, store_id bigint REFERENCES stores, domain text UNIQUE, is_active boolean, is_verified boolean
);
CREATE INDEX ON store_domains (lower(rtrim(domain, '.')));
CREATE INDEX ON stores (lower(subdomain));
INSERT INTO stores VALUES (1, 'store1', true), (2, 'store2', true);
INSERT INTO store_domains VALUES (1, 1, 'customdomain1.com', true, true), (2, 1, 'Shop.Alpha.com', true, true),
    (3, 2, 'customdomain2.com', true, false);
