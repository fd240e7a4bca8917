//! WebSocket, spoken by Python's `websockets` on both sides of usher.

use crate::{
    program::{Foreign, python, ran},
    support::{Backend, Binary, Tables},
};

#[test]
fn a_websocket_is_what_it_would_be_without_usher() {
    let app = Foreign::start("websocket_app.py");
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).config(&app.as_upstream("http")).start();
    ran(python("websocket_client.py").arg(usher.http().port().to_string()));
}
