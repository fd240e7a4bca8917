//! sslyze: what somebody who looks for weak spots sees of TLS.

use crate::{program::python_tool, support::TlsFixture};

/// What is said against the test's own certificate, which nobody trusts and which holds for ever.
const OF_THE_CERTIFICATE: [&str; 3] =
    ["* certificate_path_validation: ", "* maximum_certificate_lifespan: ", "Could not build verified chain"];

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
    let (scans, verdict) = said.split_once("COMPLIANCE AGAINST TLS CONFIGURATION").unwrap();
    let found = scans.lines().filter(|line| line.contains("VULNERABLE") || line.contains("ERROR"));
    let against = verdict.lines().filter(|line| line.trim_start().starts_with("* "));
    let is_ours = |line: &&str| !OF_THE_CERTIFICATE.iter().any(|own| line.contains(own));
    let faults: Vec<_> = found.chain(against).filter(is_ours).collect();
    assert!(faults.is_empty(), "{faults:?}");
}
