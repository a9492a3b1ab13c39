//! Texts of PEM, as files and kubeconfigs hold them.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Lines without spaces at their ends, which Go's parser of PEM does not mind.
pub(super) fn trimmed(pem: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(pem.len());
    for line in pem.split(|byte| *byte == b'\n') {
        lines.extend_from_slice(line.trim_ascii());
        lines.push(b'\n');
    }
    lines
}

/// The certificates in a text of PEM; whatever else is in it is passed over.
pub(super) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(&trimmed(pem))
        .filter_map(Result::ok)
        .collect()
}
