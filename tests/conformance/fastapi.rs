//! The app in `deploy/fastapi`: FastAPI by uvicorn, on the same PostgreSQL that usher asks.

use std::{fs, path::Path};

use crate::{
    program::{Foreign, python, python_of_the_shop, ran},
    support::{Backend, Binary, Tables},
};

#[test]
fn a_real_app_serves_each_store_its_own() {
    let tables = Tables::empty(Backend::Postgres).with(&file("schema.sql")).with(&file("rows.sql"));
    let mut app = python_of_the_shop("shop_app.py");
    app.env("DATABASE_URL", tables.url()).env("ROUTER_NETWORKS", "127.0.0.1/32");
    let app = Foreign::run(app.env("ADMIN_PASSWORD", "only-for-this-test"));
    let usher = Binary::over(&tables).config(&app.as_upstream("http")).start();
    ran(python("shop_client.py").arg(usher.http().port().to_string()).arg(app.port().to_string()));
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/fastapi").join(name)).unwrap()
}
