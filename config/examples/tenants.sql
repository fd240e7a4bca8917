CREATE TABLE tenants (slug text PRIMARY KEY, domain text UNIQUE);
CREATE INDEX ON tenants (lower(domain));
INSERT INTO tenants VALUES ('alpha', 'customdomain1.com'), ('beta', 'customdomain2.com');
