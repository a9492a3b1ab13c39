use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::*;

fn params(names: &[&str], ca: bool) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, if ca { "ca" } else { "leaf" });
    params
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}

fn verdict(roots: &[&rcgen::Certificate], shown: &[&rcgen::Certificate], name: &str) -> bool {
    let der = |certificates: &[&rcgen::Certificate]| -> Vec<CertificateDer<'static>> {
        certificates
            .iter()
            .map(|certificate| certificate.der().clone())
            .collect()
    };
    let verifier = Verifier::new(der(roots), None, super::super::tls::provider());
    let shown = der(shown);
    let (leaf, others) = shown.split_first().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .verify_server_cert(leaf, others, &name, &[], now())
        .is_ok()
}

#[test]
fn a_certificate_that_is_its_own_authority() {
    for ca in [false, true] {
        let key = KeyPair::generate().unwrap();
        let own = params(&["api.example.com", "10.0.0.1"], ca);
        let own = own.self_signed(&key).unwrap();
        let other = params(&["api.example.com"], ca).self_signed(&KeyPair::generate().unwrap());
        let other = other.unwrap();
        assert!(verdict(&[&own], &[&own], "api.example.com"), "ca {ca}");
        assert!(verdict(&[&own], &[&own], "10.0.0.1"), "ca {ca}");
        assert!(!verdict(&[&own], &[&own], "other.example.com"), "ca {ca}");
        assert!(!verdict(&[&own], &[&other], "api.example.com"), "ca {ca}");
    }
}

#[test]
fn what_go_refuses_is_refused() {
    let key = KeyPair::generate().unwrap();
    let ca_params = params(&[], true);
    let ca = ca_params.self_signed(&key).unwrap();
    let issuer = Issuer::new(ca_params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let issued = |change: &dyn Fn(&mut CertificateParams)| {
        // A CA that serves: what rustls refuses and Go takes, so that the second look decides.
        let mut leaf = params(&["api.example.com"], true);
        leaf.not_after = rcgen::date_time_ymd(2040, 1, 1);
        change(&mut leaf);
        leaf.signed_by(&leaf_key, &issuer).unwrap()
    };
    let check = |change: &dyn Fn(&mut CertificateParams), expected: bool, what: &str| {
        let leaf = issued(change);
        assert_eq!(
            verdict(&[&ca], &[&leaf], "api.example.com"),
            expected,
            "{what}"
        );
    };
    check(&|_| (), true, "a CA that serves");
    check(
        &|leaf| leaf.not_after = rcgen::date_time_ymd(2020, 1, 1),
        false,
        "expired",
    );
    check(
        &|leaf| leaf.not_before = rcgen::date_time_ymd(2039, 1, 1),
        false,
        "not yet valid",
    );
    check(
        &|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        false,
        "for clients",
    );
    check(
        &|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
        true,
        "for anything",
    );
    check(
        &|leaf| leaf.subject_alt_names.clear(),
        false,
        "no alternative name",
    );
    check(
        &|leaf| {
            let mut odd = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 9], vec![5, 0]);
            odd.set_criticality(true);
            leaf.custom_extensions.push(odd);
        },
        false,
        "a condition that is not understood",
    );
    // One that the authority signed, but who is none itself, cannot sign others.
    let middle_key = KeyPair::generate().unwrap();
    let middle_params = params(&["middle"], false);
    let middle = middle_params.signed_by(&middle_key, &issuer).unwrap();
    let middle_issuer = Issuer::new(middle_params, middle_key);
    let below = params(&["api.example.com"], true);
    let below = below.signed_by(&leaf_key, &middle_issuer).unwrap();
    assert!(!verdict(&[&ca], &[&below, &middle], "api.example.com"));
}

#[test]
fn names_with_a_star() {
    for (pattern, host, expected) in [
        ("*.example.com", "api.example.com", true),
        ("*.example.com", "API.EXAMPLE.COM.", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", "a.b.example.com", false),
        ("a*.example.com", "ab.example.com", false),
        ("api_1.example.com", "api_1.example.com", true),
        ("", "", false),
    ] {
        assert_eq!(matches_host(pattern, host), expected, "{pattern} {host}");
    }
}
