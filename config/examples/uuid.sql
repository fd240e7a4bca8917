CREATE TABLE stores (id uuid PRIMARY KEY, subdomain text UNIQUE, is_active boolean);
CREATE TABLE store_domains (
    id uuid PRIMARY KEY, store_id uuid REFERENCES stores, domain text UNIQUE, is_active boolean, is_verified boolean
);
INSERT INTO stores VALUES ('6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f', 'store1', true);
INSERT INTO store_domains VALUES
    ('a5b1e9f0-7c3d-4e2f-8a6b-1c2d3e4f5a6b', '6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f', 'customdomain1.com', true, true);
