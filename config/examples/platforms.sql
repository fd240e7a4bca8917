CREATE TABLE platforms (id int PRIMARY KEY, domain text UNIQUE);
CREATE TABLE stores (id bigint PRIMARY KEY, is_active boolean);
CREATE TABLE store_platforms (
    store_id bigint REFERENCES stores, platform_id int REFERENCES platforms, custom_subdomain text,
    PRIMARY KEY (store_id, platform_id), UNIQUE (platform_id, custom_subdomain)
);
CREATE TABLE store_domains (store_id bigint REFERENCES stores, domain text PRIMARY KEY, is_verified boolean);
CREATE INDEX ON store_platforms (lower(custom_subdomain));
CREATE INDEX ON store_domains (lower(domain));
INSERT INTO platforms VALUES (1, 'platform.com'), (2, 'market.example');
INSERT INTO stores VALUES (1, true), (2, true);
INSERT INTO store_platforms VALUES (1, 1, 'alpha'), (1, 2, 'shop-alpha'), (2, 2, 'alpha');
INSERT INTO store_domains VALUES (1, 'customdomain1.com', true);
