//! h2load: many streams at once, over HTTP/2 with prior knowledge and over HTTP/1.1.

use crate::{
    program::{alone, program, ran},
    support::Fixture,
};

#[test]
fn h2load_finds_every_request_answered() {
    let _alone = alone();
    let stage = Fixture::new();
    let url = format!("http://{}/served", stage.usher.http());
    for (arguments, requests) in [
        (["-n20000", "-c16", "-m32"].as_slice(), 20_000),
        (&["-n2000", "-c1", "-m100"], 2_000),
        (&["-n5000", "-c16", "-m1", "--h1"], 5_000),
    ] {
        let said = ran(program("h2load").args(arguments).args(["-H", ":authority: customdomain1.com", &url]));
        let expected = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(said.contains(&expected), "{arguments:?}\n{said}");
        assert!(said.contains(&format!("status codes: {requests} 2xx")), "{arguments:?}\n{said}");
    }
    assert_eq!(stage.app.requests().len(), 27_000);
}
