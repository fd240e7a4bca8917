//! gRPC, spoken by Python's `grpcio` on both sides of usher.

use crate::{
    program::{Foreign, python, ran},
    support::{Backend, Binary, Tables},
};

#[test]
fn a_call_is_what_it_would_be_without_usher() {
    let app = Foreign::start("grpc_app.py");
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).config(&app.as_upstream("h2c")).start();
    ran(python("grpc_client.py").arg(usher.http().port().to_string()));
    // The call that was taken back; at a deadline it is chance whether its client or the app goes first.
    assert!(usher.metric("usher_requests_total", &["outcome=\"client_gone\""]) >= 1.0);
}
