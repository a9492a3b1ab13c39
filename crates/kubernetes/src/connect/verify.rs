//! Whose certificate a server may show: what rustls takes, and besides it what Go's `crypto/x509` takes and rustls is
//! too strict for. Public clusters rest on it: a self-signed certificate that is its own authority, or one that is a
//! CA and serves. Nothing else is let through: validity, name, use and signatures are checked here as well.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Version};

use super::pem::certificates;

/// How long a file of authorities counts before it is read again; client-go and kube do the same.
const REREAD: Duration = Duration::from_secs(60);
/// Certificates between the server's and its authority.
const DEPTH: usize = 8;

/// Authorities.
#[derive(Debug)]
struct Roots {
    strict: Option<Arc<WebPkiServerVerifier>>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Certificates that rustls cannot read count only for the second look, as Go passes over what it cannot read.
    fn new(certificates: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        let strict = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone());
        Self {
            strict: strict.build().ok(),
            certificates,
        }
    }
}

/// Checks a server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: RwLock<(Arc<Roots>, Instant)>,
    /// Where the authorities are read from again.
    file: Option<PathBuf>,
}

impl Verifier {
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        file: Option<&Path>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let roots = Arc::new(Roots::new(certificates, &provider));
        Self {
            provider,
            roots: RwLock::new((roots, Instant::now())),
            file: file.map(Path::to_owned),
        }
    }

    fn current(&self) -> Arc<Roots> {
        let (roots, since) = self
            .roots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(file) = self.file.as_ref().filter(|_| since.elapsed() >= REREAD) else {
            return roots;
        };
        let read = std::fs::read(file)
            .ok()
            .map(|pem| certificates(&pem))
            .filter(|certificates| !certificates.is_empty());
        let fresh = match read {
            Some(certificates) => Arc::new(Roots::new(certificates, &self.provider)),
            // A file that is gone or being written: what was read last goes on counting.
            None => roots,
        };
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) =
            (fresh.clone(), Instant::now());
        fresh
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = self.current();
        let strict = match &roots.strict {
            Some(strict) => strict.verify_server_cert(leaf, others, name, ocsp, now),
            None => Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            )),
        };
        match strict {
            Err(error) if !as_go(leaf, others, &roots.certificates, name, now) => Err(error),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// `insecure-skip-tls-verify`: whoever answers is taken for the server.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Go's `Certificate.Verify` (crypto/x509/verify.go, Go 1.25), without name constraints: a chain with any is refused.
fn as_go(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> bool {
    let parse = |der| parsed(der);
    let Some(end) = parsed(leaf) else {
        return false;
    };
    if !usable(&end, now) || !is_for(&end, name) {
        return false;
    }
    if roots.iter().any(|root| root == leaf) {
        return true;
    }
    let roots: Vec<_> = roots.iter().filter_map(parse).collect();
    let others: Vec<_> = others.iter().filter_map(parse).collect();
    leads_to(&end, &others, &roots, now, 0)
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

/// Whether one of the authorities signed it, or one that they signed did.
fn leads_to(
    child: &X509Certificate<'_>,
    others: &[X509Certificate<'_>],
    roots: &[X509Certificate<'_>],
    now: UnixTime,
    between: usize,
) -> bool {
    if roots
        .iter()
        .any(|root| usable(root, now) && signed(child, root, between))
    {
        return true;
    }
    between < DEPTH
        && others.iter().any(|other| {
            other.version() == X509Version::V3
                && usable(other, now)
                && signed(child, other, between)
                && leads_to(other, others, roots, now, between + 1)
        })
}

/// Whether an authority may sign others and signed this one. X.509 v1 has no word on who may.
fn signed(child: &X509Certificate<'_>, issuer: &X509Certificate<'_>, between: usize) -> bool {
    let constraints = issuer.basic_constraints().ok().flatten();
    let may = match constraints {
        Some(constraints) => {
            constraints.value.ca
                && constraints
                    .value
                    .path_len_constraint
                    .is_none_or(|most| between <= most as usize)
        }
        None => issuer.version() != X509Version::V3,
    };
    let key_usage = issuer.key_usage().ok().flatten();
    let sha1 = ["1.2.840.113549.1.1.5", "1.3.14.3.2.29", "1.2.840.10045.4.1"];
    let algorithm = child.signature_algorithm.algorithm.to_id_string();
    may && key_usage.is_none_or(|usage| usage.value.key_cert_sign())
        && child.issuer().as_raw() == issuer.subject().as_raw()
        && !sha1.contains(&algorithm.as_str())
        && child.verify_signature(Some(issuer.public_key())).is_ok()
}

/// Valid now, for servers, and without a condition that is not understood here.
fn usable(certificate: &X509Certificate<'_>, now: UnixTime) -> bool {
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
        return false;
    }
    certificate
        .extensions()
        .iter()
        .all(|extension| match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => usage.any || usage.server_auth,
            ParsedExtension::NameConstraints(_) => false,
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_) => true,
            _ => !extension.critical,
        })
}

/// Whether one of its alternative names is the server's; the common name never counts.
fn is_for(certificate: &X509Certificate<'_>, name: &ServerName<'_>) -> bool {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    let mut names = names.value.general_names.iter();
    match name {
        ServerName::IpAddress(address) => {
            let wanted = match IpAddr::from(*address) {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            names.any(|name| matches!(name, GeneralName::IPAddress(ip) if *ip == wanted))
        }
        ServerName::DnsName(host) => names.any(|name| {
            matches!(name, GeneralName::DNSName(pattern) if matches_host(pattern, host.as_ref()))
        }),
        _ => false,
    }
}

/// A `*` stands for exactly the first label.
fn matches_host(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        Some(rest) if !rest.contains('*') => host
            .split_once('.')
            .is_some_and(|(first, tail)| !first.is_empty() && tail.eq_ignore_ascii_case(rest)),
        _ => !pattern.is_empty() && !pattern.contains('*') && pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
