CREATE TABLE merchants (id bigint PRIMARY KEY, domain text UNIQUE);
CREATE TABLE stores (
    id bigint PRIMARY KEY, merchant_id bigint REFERENCES merchants, is_main boolean, domain text UNIQUE, subdomain text UNIQUE
);
CREATE INDEX ON merchants (lower(domain));
CREATE INDEX ON stores (lower(domain));
CREATE INDEX ON stores (lower(subdomain));
INSERT INTO merchants VALUES (1, 'merchant.example'), (2, NULL);
INSERT INTO stores VALUES (1, 1, true, NULL, 'store1'), (2, 1, false, 'own.example', 'store2'), (3, 2, true, NULL, 'store3');
