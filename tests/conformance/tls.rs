//! sslyze: what somebody who looks for weak spots sees of TLS.

use crate::{program::python_tool, support::TlsFixture};

/// What is said against the test's own certificate, which nobody trusts and which holds for ever.
const OF_THE_CERTIFICATE: [&str; 2] = ["* certificate_path_validation: ", "* maximum_certificate_lifespan: "];

/// Against what Mozilla recommends to everybody who has no need for older clients.
#[test]
fn sslyze_finds_no_weakness() {
    let stage = TlsFixture::new();
    let mut scan = python_tool("sslyze");
    scan.args(["--mozilla_config=intermediate", "--early_data", "--resum", "--sni=customdomain1.com"]);
    let scanned = scan.arg(stage.usher.https().to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&scanned.stdout);
    for scan in ["TLS 1.3 Cipher Suites", "ROBOT Attack", "Session Renegotiation", "TLS 1.3 Early Data", "Resumption"] {
        assert!(said.contains(scan), "{scan} was not looked at: {said}");
    }
    assert!(!said.contains("VULNERABLE") && !said.contains("ERROR"), "{said}");
    let verdict = said.split_once("COMPLIANCE AGAINST TLS CONFIGURATION").unwrap().1;
    let against = verdict.lines().map(str::trim_start).filter(|line| line.starts_with("* "));
    let against: Vec<_> = against.filter(|line| !OF_THE_CERTIFICATE.iter().any(|own| line.starts_with(own))).collect();
    assert!(against.is_empty(), "{against:?}");
}
